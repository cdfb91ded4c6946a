package sni

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

// ClientCertificates finds the certificates that Targets refer to. Implementations are safe for concurrent use. A certificate
// must not change once it was returned. A renewed certificate is another one, and the next request that needs it gets a new
// connection with it.
type ClientCertificates interface {
	// ClientCertificate returns the certificate that has the name now, with its private key. It is called for each request
	// whose Target has a ClientCert, so it should be fast. If it returns an error, the request fails; the error should say
	// what to do.
	ClientCertificate(ctx context.Context, name string) (*tls.Certificate, error)
}

// WithCertificateRequest returns a context for a request. If the origin asks for a client certificate in a handshake that is
// made for the request, f is called before the handshake ends, also if the Target has no ClientCert. net/http/httptrace has
// no hook for this. It is exported for tools that check an origin.
func WithCertificateRequest(ctx context.Context, f func(*tls.CertificateRequestInfo)) context.Context {
	return context.WithValue(ctx, certificateRequestKey{}, f)
}

type certificateRequestKey struct{}

func (t *Transport) clientCertificate(ctx context.Context, name string) (*tls.Certificate, error) {
	fail := func(reason string, err error) (*tls.Certificate, error) {
		return nil, &TargetError{"ClientCert", fmt.Sprintf("%.80q %s", name, reason), err}
	}
	if t.ClientCertificates == nil {
		return fail("cannot be had, since no client certificates are configured", nil)
	}
	c, err := t.ClientCertificates.ClientCertificate(ctx, name)
	if lacksDescriptors(err) && t.freeDescriptors() {
		c, err = t.ClientCertificates.ClientCertificate(ctx, name)
	}
	switch {
	case err != nil:
		return fail(fmt.Sprintf("cannot be had: %v", err), err)
	case c == nil || len(c.Certificate) == 0:
		return fail("cannot be had: it is empty", nil)
	}
	return c, nil
}

// CertificateDir is [ClientCertificates] in a directory. The entry "shop" is either the file shop.pem, with the certificate, its
// intermediates and its key, or the two files shop.crt and shop.key. [OpenCertificateDir] makes one; the zero value is not
// usable.
//
// A changed file is read again with the next request. If a renewed entry cannot be read, for example between the writing of its
// two files, the previous certificate stays in use, for ten seconds at most. The directory stays the one that was opened, also if
// it is renamed. Links that lead out of it are not followed.
type CertificateDir struct {
	root *os.Root

	mu      sync.Mutex
	entries map[string]*certEntry
}

var _ ClientCertificates = (*CertificateDir)(nil)

// certEntry is a certificate, and the state of its files when it was read.
type certEntry struct {
	certificate *tls.Certificate
	files       []fs.FileInfo // of the certificate, and of the key if that has a file of its own
	broken      time.Time     // when the files became unreadable, by the wall clock; zero if they are readable
}

// renewalTime is for how long an entry may be unreadable before requests fail.
const renewalTime = 10 * time.Second

// ErrNoClientCert is the cause of the error for an entry that is not in the directory.
var ErrNoClientCert = errors.New("no such entry")

// OpenCertificateDir returns the certificates in a directory. It fails if the directory cannot be opened. Entries are read when
// they are needed.
func OpenCertificateDir(name string) (*CertificateDir, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("sni: client certificates: %w", err)
	}
	return &CertificateDir{root: root, entries: make(map[string]*certEntry)}, nil
}

// Close closes the directory.
func (d *CertificateDir) Close() error { return d.root.Close() }

// ClientCertificate implements [ClientCertificates].
func (d *CertificateDir) ClientCertificate(_ context.Context, name string) (*tls.Certificate, error) {
	// Routes name entries, and their authors must not be able to choose files.
	if name == "" || name[0] == '.' || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
		return nil, fmt.Errorf("the name of an entry has letters, digits, dots, hyphens and underscores, and begins with no dot: %w", ErrNoClientCert)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.entries[name]
	files, err := d.stat(name)
	if err == nil && known != nil && known.certificate != nil && sameFiles(files, known.files) {
		known.broken = time.Time{}
		return known.certificate, nil
	}
	var c *tls.Certificate
	if err == nil {
		c, err = d.load(name, len(files) == 1)
	}
	switch {
	case err == nil:
		d.entries[name] = &certEntry{certificate: c, files: files}
		return c, nil
	case known == nil, errors.Is(err, ErrNoClientCert):
		delete(d.entries, name)
		return nil, err
	}
	now := wallClock()
	if known.broken.IsZero() {
		known.broken = now
	}
	if age := now.Sub(known.broken); age < 0 || age >= renewalTime {
		return nil, err
	}
	return known.certificate, nil
}

// stat returns the state of the files of an entry.
func (d *CertificateDir) stat(name string) ([]fs.FileInfo, error) {
	one, err := d.root.Stat(name + ".pem")
	switch {
	case err == nil:
		return regular(one)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	certificate, err := d.root.Stat(name + ".crt")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: the directory has neither %s.pem nor %s.crt", ErrNoClientCert, name, name)
	} else if err != nil {
		return nil, err
	}
	key, err := d.root.Stat(name + ".key")
	if err != nil {
		return nil, err
	}
	return regular(certificate, key)
}

// regular refuses files that could make a reader wait, such as a pipe.
func regular(files ...fs.FileInfo) ([]fs.FileInfo, error) {
	for _, f := range files {
		if !f.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file", f.Name())
		}
	}
	return files, nil
}

func (d *CertificateDir) load(name string, together bool) (*tls.Certificate, error) {
	certificate, key := name+".crt", name+".key"
	if together {
		certificate, key = name+".pem", name+".pem"
	}
	c, err := d.root.ReadFile(certificate)
	if err != nil {
		return nil, err
	}
	k := c
	if !together {
		if k, err = d.root.ReadFile(key); err != nil {
			return nil, err
		}
	}
	pair, err := tls.X509KeyPair(c, k)
	clear(k)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certificate, err)
	}
	return &pair, nil
}

func sameFiles(a, b []fs.FileInfo) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !os.SameFile(a[i], b[i]) || !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() {
			return false
		}
	}
	return true
}
