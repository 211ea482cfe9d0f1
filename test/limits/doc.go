// Package limits holds what is asked of a node at the limits that docs/limits.md lists, of the real policy agent with real HTTP: memory
// and time stay bounded, and what nobody looked at is not held against an image. Sizes are measured in the same run; nothing waits
// for absolute times but the agent's own deadlines. Limits of single parts are tested beside the parts.
package limits
