package kubernetes

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// names is the name server of pods: it knows the names in Options.Names, which all lead to the first node.
type names struct {
	connection net.PacketConn
	known      map[string]bool
	address    netip.Addr
	done       sync.WaitGroup
}

// maxQuestion is more than a question in a datagram has, in bytes.
const maxQuestion = 1 << 10

// serveNames answers on port 53 of an address.
func serveNames(all []string, address string) (*names, error) {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return nil, err
	}
	n := &names{known: map[string]bool{}, address: ip}
	for _, name := range all {
		n.known[strings.ToLower(strings.TrimSuffix(name, "."))+"."] = true
	}
	if n.connection, err = net.ListenPacket("udp", net.JoinHostPort(address, "53")); err != nil {
		return nil, fmt.Errorf("serving names: %w", err)
	}
	n.done.Go(n.serve)
	return n, nil
}

func (n *names) serve() {
	question := make([]byte, maxQuestion)
	for {
		size, from, err := n.connection.ReadFrom(question)
		if err != nil {
			return // closed
		}
		if answer, err := n.answer(question[:size]); err == nil {
			_, _ = n.connection.WriteTo(answer, from) // who asked asks again
		}
	}
}

func (n *names) answer(message []byte) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(message)
	if err != nil {
		return nil, err
	}
	question, err := p.Question()
	if err != nil {
		return nil, err
	}
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired, RecursionAvailable: true},
		Questions: []dnsmessage.Question{question},
	}
	switch {
	case !n.known[strings.ToLower(question.Name.String())]:
		reply.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA:
		reply.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 5},
			Body:   &dnsmessage.AResource{A: n.address.As4()},
		}}
	}
	return reply.Pack()
}

// Close ends it.
func (n *names) Close() error {
	err := n.connection.Close()
	n.done.Wait()
	return err
}

// writeResolvConf says where pods find names. Without a name server they are refused at once, instead of waiting for a server that
// cannot be reached.
func (c *Cluster) writeResolvConf() error {
	server := "127.0.0.1"
	if c.names != nil {
		server = c.NodeAddress()
	}
	if err := os.WriteFile(c.path("resolv.conf"), []byte("nameserver "+server+"\n"), 0o644); err != nil {
		return fmt.Errorf("writing the configuration of pods' resolvers: %w", err)
	}
	return nil
}
