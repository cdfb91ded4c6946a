package tlstest

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// Names has the records of a name server: the addresses of a name, or the name that it is an alias of. The special values are
// below. Other names do not exist.
type Names map[string][]string

// Special values of a name.
const (
	Silent   = "silent"   // no answer is sent
	ServFail = "servfail" // the server says that it has failed
)

// NameServer serves names over UDP on loopback until the test ends. It returns its address and a resolver that asks no other
// server.
func NameServer(t testing.TB, names Names) (string, *net.Resolver) {
	t.Helper()
	return NameServerFunc(t, func(name string) ([]string, bool) { values, ok := names[name]; return values, ok })
}

// NameServerFunc is NameServer for names whose values change. lookup returns the values of a name as Names has them. It is called
// from a single goroutine.
func NameServerFunc(t testing.TB, lookup func(name string) (values []string, ok bool)) (string, *net.Resolver) {
	t.Helper()
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
			if reply := reply(b[:n], lookup); reply != nil {
				c.WriteTo(reply, from)
			}
		}
	}()
	// A lookup outlives the request that began it, for seconds if nobody answers.
	over, end := context.WithCancel(context.Background())
	t.Cleanup(func() { end(); c.Close(); <-done })
	address := c.LocalAddr().String()
	return address, &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if over.Err() != nil {
			return nil, over.Err()
		}
		question, err := new(net.Dialer).DialContext(ctx, "udp", address)
		if err == nil {
			context.AfterFunc(over, func() { question.Close() })
		}
		return question, err
	}}
}

// reply answers one question (RFC 1035 section 4).
func reply(query []byte, lookup func(string) ([]string, bool)) []byte {
	const typeA, typeCNAME, typeAAAA = 1, 5, 28
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

	flags, answers, count := uint16(0x8180), []byte{}, uint16(0) // a response, recursion desired and available
	record := func(owner string, kind uint16, data []byte) {
		answers = append(answers, wire(owner)...)
		answers = binary.BigEndian.AppendUint16(answers, kind)
		answers = append(answers, 0, 1, 0, 0, 0, 0) // IN, TTL 0
		answers = binary.BigEndian.AppendUint16(answers, uint16(len(data)))
		answers = append(answers, data...)
		count++
	}
	for range 8 { // an alias of itself ends too
		values, ok := lookup(name)
		if !ok {
			flags |= 3 // NXDOMAIN
			break
		}
		next := ""
		for _, v := range values {
			switch ip, err := netip.ParseAddr(v); {
			case v == Silent:
				return nil
			case v == ServFail:
				flags |= 2
			case err != nil:
				next = v
				record(name, typeCNAME, wire(v))
			case ip.Is4() && kind == typeA:
				record(name, typeA, ip.AsSlice())
			case ip.Is6() && kind == typeAAAA:
				record(name, typeAAAA, ip.AsSlice())
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	reply := append([]byte{}, query[:2]...)
	for _, v := range []uint16{flags, 1, count, 0, 0} {
		reply = binary.BigEndian.AppendUint16(reply, v)
	}
	return append(append(reply, question...), answers...)
}

// wire returns a name in the format of DNS messages.
func wire(name string) []byte {
	var b []byte
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}
