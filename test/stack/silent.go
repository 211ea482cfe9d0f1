package stack

import (
	"net"
	"os"
)

// SilentAgent listens in the agent's place, and answers nothing. The channel tells that somebody asked.
func (s *Stack) SilentAgent() (asked <-chan struct{}, end func(), err error) {
	if err := os.Remove(s.AgentSocket()); err != nil {
		return nil, nil, err
	}
	listener, err := net.Listen("unix", s.AgentSocket())
	if err != nil {
		return nil, nil, err
	}
	questions := make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			defer connection.Close()
			if _, err := connection.Read(make([]byte, 1)); err != nil {
				continue // connected and did not ask
			}
			select {
			case questions <- struct{}{}:
			default:
			}
		}
	}()
	return questions, func() {
		listener.Close()
		<-ended
	}, nil
}
