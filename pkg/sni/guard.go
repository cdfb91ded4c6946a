package sni

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
)

// A ProhibitedError says that an address was not dialled, because it is in a network that requests from strangers must not
// reach.
type ProhibitedError struct {
	IP    netip.Addr
	Range string // what the network is, for a person to read
}

func (e *ProhibitedError) Error() string {
	return fmt.Sprintf("%v is in a prohibited network (%s)", e.IP, e.Range)
}

// prohibited lists the networks that are not globally reachable: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC
// 6890), multicast and reserved space, and the addresses where clouds serve credentials. The first network that contains an
// address gives it its description.
var prohibited = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("100.100.100.200/32"), "cloud metadata"},     // Alibaba
	{netip.MustParsePrefix("168.63.129.16/32"), "cloud metadata"},       // Azure, in the midst of public space
	{netip.MustParsePrefix("192.0.0.192/32"), "cloud metadata"},         // Oracle
	{netip.MustParsePrefix("fd00:ec2::/32"), "cloud metadata"},          // EC2, EKS
	{netip.MustParsePrefix("fd20:ce::254/128"), "cloud metadata"},       // Google
	{netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), "cloud metadata"}, // Oracle
	{netip.MustParsePrefix("fd00:42::42/128"), "cloud metadata"},        // Scaleway
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "carrier-grade NAT"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local and cloud metadata"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "protocol assignments"},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "6to4 relay"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved and broadcast"},
	{netip.MustParsePrefix("::/96"), "unspecified, loopback and IPv4-compatible"},
	{netip.MustParsePrefix("2001::/23"), "protocol assignments and Teredo"},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation"},
	{netip.MustParsePrefix("2002::/16"), "6to4"},
	{netip.MustParsePrefix("3fff::/20"), "documentation"},
	{netip.MustParsePrefix("fc00::/7"), "private"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// globalIPv6 is the block that global unicast addresses are assigned from (RFC 4291, IANA). Other blocks lead into IPv4
// (64:ff9b:1::/48, ::ffff:0:0:0/96), are for segment routing, discard and site-local use, or are not assigned yet.
var globalIPv6 = netip.MustParsePrefix("2000::/3")

// metadata are the networks where clouds serve credentials. Only a prefix within such a network allows it: an operator who
// allows fd00::/8 or 0.0.0.0/0 does not mean these.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("192.0.0.192/32"),
	netip.MustParsePrefix("fd00:ec2::/32"),
	netip.MustParsePrefix("fd20:ce::254/128"),
	netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"),
	netip.MustParsePrefix("fd00:42::42/128"),
}

// nat64 has an IPv4 address in its last four bytes (RFC 6052): an IPv6-only network reaches the IPv4 internet through it, and
// could reach private IPv4 addresses.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// guard refuses prohibited addresses. As the ControlContext of a net.Dialer it gets the address that connect(2) will get, after
// DNS. So a name whose address changes between check and use (DNS rebinding) gains nothing.
type guard struct{ allow []netip.Prefix }

func (g guard) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	return g.check(ap.Addr())
}

func (g guard) check(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("") // a prefix contains no address with a zone
	if nat64.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	for _, p := range g.allow {
		if p.Contains(ip) && !opensMetadata(p, ip) {
			return nil
		}
	}
	for _, p := range prohibited {
		if p.prefix.Contains(ip) {
			return &ProhibitedError{ip, p.what}
		}
	}
	if ip.Is6() && !globalIPv6.Contains(ip) {
		return &ProhibitedError{ip, "not global unicast"}
	}
	return nil
}

// opensMetadata reports whether ip is in a metadata network that is smaller than p.
func opensMetadata(p netip.Prefix, ip netip.Addr) bool {
	for _, m := range metadata {
		if m.Contains(ip) && p.Bits() < m.Bits() {
			return true
		}
	}
	return false
}
