package sni_test

import (
	"context"
	"crypto/x509"
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// A setting that Clone forgets would silently be the default.
func TestCloneHasEverySetting(t *testing.T) {
	t.Parallel()
	original := &sni.Transport{
		Translate:          sni.Static{},
		RootCAs:            x509.NewCertPool(),
		ClientCertificates: &sni.CertificateDir{},
		AllowCIDRs:         []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Resolver:           &net.Resolver{},
		Observe:            func(context.Context, *sni.Exchange) {},
	}
	v := reflect.ValueOf(original).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		switch f := v.Field(i); {
		case f.Kind() == reflect.Bool:
			f.SetBool(true)
		case f.CanInt():
			f.SetInt(int64(time.Second) + int64(i))
		}
		if v.Field(i).IsZero() {
			t.Fatalf("the test does not set %s", field.Name)
		}
	}
	clone := reflect.ValueOf(original.Clone()).Elem()
	for i := range v.NumField() {
		if field := v.Type().Field(i); field.IsExported() && field.Name != "Observe" && !reflect.DeepEqual(clone.Field(i).Interface(), v.Field(i).Interface()) {
			t.Errorf("%s is %v, want %v", field.Name, clone.Field(i), v.Field(i))
		}
	}
	if original.Clone().Observe == nil {
		t.Error("Observe is not copied")
	}
}

func TestCloneHasConnectionsOfItsOwn(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "one.test")
	original := &sni.Transport{Translate: sni.Static{"one.test": o.Addr}, RootCAs: ca.Pool(), AllowCIDRs: tlstest.Loopback}
	for _, transport := range []*sni.Transport{original, original.Clone()} {
		if _, err := get(t, transport, "https://one.test/"); err != nil {
			t.Fatal(err)
		}
		defer transport.CloseIdleConnections()
	}
	if n := len(o.Requests()); n != 2 {
		t.Errorf("%d requests", n)
	}
	if n := len(o.Handshakes()); n != 2 {
		t.Errorf("%d handshakes, want one for each Transport", n)
	}
}
