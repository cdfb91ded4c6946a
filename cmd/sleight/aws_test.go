package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Temporary keys expire while the proxy serves, and the next login replaces them.
func TestKeysThatAreReplacedInTheirFileAreTaken(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "credentials")
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": filepath.Join(dir, "config"), "AWS_SHARED_CREDENTIALS_FILE": file, "AWS_PROFILE": "staging", "AWS_REGION": "eu-west-1",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	write := func(key string) {
		if err := os.WriteFile(file, fmt.Appendf(nil, "[staging]\naws_access_key_id = %s\naws_secret_access_key = x\naws_session_token = y\n", key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	synctest.Test(t, func(t *testing.T) {
		client, err := new(awsFlags).lastingClient(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := func(key string) {
			t.Helper()
			if c, err := client.Options().Credentials.Retrieve(t.Context()); err != nil || c.AccessKeyID != key {
				t.Errorf("key %q, %v; want %q", c.AccessKeyID, err, key)
			}
		}
		want("old")
		write("new")
		want("old") // they are not read for each request
		time.Sleep(time.Minute + time.Second)
		want("new")
	})
}

// If a machine's metadata service fails for a while, the SDK uses the role's keys that it has.
func TestKeysOfARoleOutliveAFailureOfItsService(t *testing.T) {
	var down atomic.Bool
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == "PUT":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
			io.WriteString(w, "token")
		case down.Load():
			w.WriteHeader(404)
		case strings.HasSuffix(r.URL.Path, "/role"):
			fmt.Fprintf(w, `{"Code":"Success","AccessKeyId":"role","SecretAccessKey":"x","Token":"y","Expiration":%q}`, time.Now().Add(-time.Second).UTC().Format(time.RFC3339))
		default:
			io.WriteString(w, "role")
		}
	}))
	defer service.Close()
	dir := t.TempDir()
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": filepath.Join(dir, "config"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "credentials"), "AWS_PROFILE": "", "AWS_REGION": "eu-west-1",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": service.URL,
	} {
		t.Setenv(name, value)
	}
	client, err := new(awsFlags).lastingClient(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, isDown := range []bool{false, true} {
		down.Store(isDown)
		if c, err := client.Options().Credentials.Retrieve(t.Context()); err != nil || c.AccessKeyID != "role" {
			t.Errorf("down: %v: key %q, %v", isDown, c.AccessKeyID, err)
		}
	}
}
