package sni_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// A nameServer answers questions for A records over UDP, as the test says.
type nameServer struct {
	// answer returns the addresses of a name, which is asked for the nth time. None, and false,
	// says that there is no such name; ok without addresses, that it has none; silent says nothing.
	answer func(name string, n int) (addresses []netip.Addr, ok, silent bool)

	mu    sync.Mutex
	asked map[string]int
}

// start serves until the test ends, and returns a resolver that asks this server alone.
func (s *nameServer) start(t *testing.T) *net.Resolver {
	t.Helper()
	s.asked = map[string]int{}
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if reply := s.reply(b[:n]); reply != nil {
				c.WriteTo(reply, from)
			}
		}
	}()
	// A look-up outlives the request that began it, for seconds where nobody answers.
	over, end := context.WithCancel(context.Background())
	t.Cleanup(func() { end(); c.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if over.Err() != nil {
			return nil, over.Err()
		}
		question, err := new(net.Dialer).DialContext(ctx, "udp", c.LocalAddr().String())
		if err == nil {
			context.AfterFunc(over, func() { question.Close() })
		}
		return question, err
	}}
}

// reply answers one question (RFC 1035 section 4).
func (s *nameServer) reply(query []byte) []byte {
	var labels []string
	at := 12
	for at < len(query) && query[at] != 0 {
		n := int(query[at])
		labels = append(labels, string(query[at+1:at+1+n]))
		at += 1 + n
	}
	question := query[12 : at+5]
	kind := binary.BigEndian.Uint16(query[at+1:])
	name := strings.ToLower(strings.Join(labels, "."))

	const typeA = 1
	s.mu.Lock()
	if kind == typeA {
		s.asked[name]++
	}
	n := s.asked[name]
	s.mu.Unlock()
	addresses, ok, silent := s.answer(name, n)
	if silent {
		return nil
	}
	if kind != typeA {
		addresses = nil
	}
	reply := append([]byte{}, query[:2]...)
	flags := uint16(0x8180) // a response, recursion desired and available
	if !ok {
		flags |= 3 // NXDOMAIN
	}
	for _, v := range []uint16{flags, 1, uint16(len(addresses)), 0, 0} {
		reply = binary.BigEndian.AppendUint16(reply, v)
	}
	reply = append(reply, question...)
	for _, a := range addresses {
		reply = append(reply, 0xc0, 12, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4) // the name above, for no time
		reply = append(reply, a.AsSlice()...)
	}
	return reply
}

func addrs(all ...string) (parsed []netip.Addr) {
	for _, a := range all {
		parsed = append(parsed, netip.MustParseAddr(a))
	}
	return parsed
}
