package sni

import (
	"crypto/tls"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// keyed has the parts of a target that must be in its key, for one host.
type keyed struct {
	host       hostKey
	serverName string
	target     Target
	chain      [][]byte // of the client certificate
}

func (k keyed) key() key {
	var c *tls.Certificate
	if k.chain != nil {
		c = &tls.Certificate{Certificate: k.chain}
	}
	return k.target.key(k.host, k.serverName, c)
}

// Two different targets with one key would share connections.
func FuzzKeyTellsTargetsApart(f *testing.F) {
	add := func(a, b [8]string) {
		f.Add(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], uint16(0), uint16(0))
	}
	base := [8]string{"a", "x", "", "", "", "", "", "443"}
	with := func(i int, s string) [8]string { b := base; b[i] = s; return b }
	add(base, base)
	for i := range base {
		add(base, with(i, "z"))
		add(with(i, "x,1:y"), with(i, "x\n1:y"))
		add(with(i, "x,y,1:z"), with(i, "x,y1:z"))
		add(with(i, "x,1:y1:z"), with(i, "x,y,z"))
		add(with(i, "-"), with(i, ""))
		add(with(i, "x,y"), with(i, "x,z"))
		add(with(i, "x,ab,c"), with(i, "x,a,bc"))
	}
	add(with(2, "r"), with(4, "r")) // the text of one field in another field
	add(with(4, "c"), with(5, "c"))
	f.Fuzz(func(t *testing.T, name1, addr1, roots1, pins1, cert1, chain1, alpn1, port1, name2, addr2, roots2, pins2, cert2, chain2, alpn2, port2 string, min1, min2 uint16) {
		a := parseKeyed(name1, addr1, roots1, pins1, cert1, chain1, alpn1, port1, min1)
		b := parseKeyed(name2, addr2, roots2, pins2, cert2, chain2, alpn2, port2, min2)
		if same := reflect.DeepEqual(a, b); (a.key() == b.key()) != same {
			t.Errorf("%+v and %+v: keys equal is %v", a, b, !same)
		}
	})
}

func parseKeyed(name, addresses, roots, pins, cert, chain, alpn, port string, minVersion uint16) keyed {
	list := func(s string) []string {
		if s == "-" || s == "" {
			return nil
		}
		return strings.Split(s, ",")
	}
	k := keyed{host: hostKey{"https", "host", port, ""}, serverName: name}
	k.target = Target{Addresses: list(addresses), ALPN: list(alpn), MinVersion: minVersion}
	if roots != "-" {
		k.target.Roots = RootsFromPEM(roots)
	}
	for _, p := range list(pins) {
		var pin [32]byte
		copy(pin[:], p)
		k.target.SPKIPins = append(k.target.SPKIPins, pin)
	}
	if all := list(chain); all != nil {
		k.target.ClientCert = cert
		for _, der := range all {
			k.chain = append(k.chain, []byte(der))
		}
	}
	return k
}

// If a new field of Target were missing in the key, targets would share connections.
func TestKeyHasEveryFieldOfTarget(t *testing.T) {
	inKey := []string{"Addresses", "Scheme", "ServerName", "Roots", "SPKIPins", "ClientCert", "MinVersion", "ALPN"}
	notInKey := []string{"HostHeader", "ConnectTimeout", "HandshakeTimeout", "MaxConns"} // they belong to the request, not to the connection
	for f := range reflect.TypeFor[Target]().Fields() {
		if !slices.Contains(inKey, f.Name) && !slices.Contains(notInKey, f.Name) {
			t.Errorf("Target.%s: put it into the key, and say so here", f.Name)
		}
	}
}

// If all hosts have the same server name and no addresses, each host itself is dialled.
func TestKeyHasTheHostWhereItIsDialled(t *testing.T) {
	target := Target{ServerName: "internal.test"}
	a := target.key(hostKey{"https", "a.test", "443", ""}, "internal.test", nil)
	b := target.key(hostKey{"https", "b.test", "443", ""}, "internal.test", nil)
	if a == b {
		t.Error("two hosts that are dialled themselves have one key")
	}
}
