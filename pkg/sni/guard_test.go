package sni

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// Addresses that a route must not reach, and addresses that it must reach.
func TestGuardRefusesNetworksThatAreNotPublic(t *testing.T) {
	refused := "127.0.0.1 127.255.255.255 ::1 0.0.0.0 0.1.2.3 :: 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 " +
		"169.254.169.254 169.254.170.2 fd00:ec2::254 fc00::1 fe80::1 fe80::1%eth0 fec0::1 100.64.0.1 100.127.255.255 " +
		"192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 " +
		"::ffff:127.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::10.0.0.1 64:ff9b:1::1 " +
		"2002:7f00:1::1 2001::1 2001:db8::1 100::1 ff02::1 3fff::1 5f00::1 ::ffff:0:127.0.0.1 4000::1 " +
		"168.63.129.16 100.100.100.200 192.0.0.192 fd20:ce::254 fd00:ec2::23 ::ffff:168.63.129.16"
	for _, s := range strings.Fields(refused) {
		var e *ProhibitedError
		if err := (guard{}).check(netip.MustParseAddr(s)); !errors.As(err, &e) || e.Range == "" {
			t.Errorf("%s: %v, want it refused", s, err)
		}
	}
	public := "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 52.94.236.248 100.63.255.255 100.128.0.1 169.253.1.1 172.15.0.1 172.32.0.1 " +
		"192.167.1.1 192.169.1.1 198.17.0.1 198.20.0.1 223.255.255.255 2600:1f18::1 2a05:d018::1 2606:4700::1111 64:ff9b::8.8.8.8 ::ffff:8.8.8.8"
	for _, s := range strings.Fields(public) {
		if err := (guard{}).check(netip.MustParseAddr(s)); err != nil {
			t.Errorf("%s: %v, want it allowed", s, err)
		}
	}
}

func TestGuardAllowsExactlyWhatIsNamed(t *testing.T) {
	g := guard{[]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")}}
	for s, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "64:ff9b::10.1.2.3": true, "fd00::1": true, "fd00::1%eth0": true,
		"10.2.0.1": false, "127.0.0.1": false, "fc00::1": false,
	} {
		if err := g.check(netip.MustParseAddr(s)); (err == nil) != want {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestBroadAllowanceDoesNotOpenMetadata(t *testing.T) {
	broad := guard{[]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("fd00::/8")}}
	narrow := guard{[]netip.Prefix{
		netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fd00:ec2::254/128"), netip.MustParsePrefix("168.63.129.16/32"),
		netip.MustParsePrefix("100.100.100.200/32"), netip.MustParsePrefix("192.0.0.192/32"), netip.MustParsePrefix("fd20:ce::254/128"),
		netip.MustParsePrefix("fd00:c1::/32"), netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), netip.MustParsePrefix("fd00:42::42/128"),
	}}
	for _, s := range []string{
		"169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "fd00:ec2::254",
		"168.63.129.16", "100.100.100.200", "192.0.0.192", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42",
	} {
		if err := broad.check(netip.MustParseAddr(s)); err == nil {
			t.Errorf("%s: allowed by a broad prefix", s)
		}
		if err := narrow.check(netip.MustParseAddr(s)); err != nil {
			t.Errorf("%s: %v, though it was meant", s, err)
		}
	}
	if err := broad.check(netip.MustParseAddr("127.0.0.1")); err != nil {
		t.Error(err)
	}
}

func TestGuardRefusesWhatItCannotRead(t *testing.T) {
	for _, s := range []string{"", "somewhere:443", "127.0.0.1"} {
		if err := (guard{}).control(t.Context(), "tcp", s, nil); err == nil {
			t.Errorf("%q was allowed", s)
		}
	}
}
