// Package policydir reads policy from a folder of the same YAML that a cluster takes: no Kubernetes needed.
//
// All *.yaml, *.yml and *.json files directly in the folder are read, in order of their names; subfolders and hidden
// files are not, so that a ConfigMap can be mounted and a Git checkout does not bring along what was not meant. A file
// may hold several documents, and lists as `kubectl get -o yaml` prints them. Objects without namespace are in "default".
//
// Reading is strict, because a policy that is misread protects nothing: unknown fields, duplicate keys, wrong types, the
// same object twice, and our kinds under another group are errors, each with file, line, field, and what to do. All are
// reported at once. Objects of other groups are skipped with a notice.
//
// One error makes the whole folder count as broken. So does a folder without any file: more often it was unmounted
// than emptied, and "no policy" admits everything. To have no policy, put an empty file there. Whoever watches the folder
// keeps the last state that was good.
//
// The parts: folder.go (files), object.go (documents and kinds), decode.go (fields), place.go (lines), watch.go.
package policydir
