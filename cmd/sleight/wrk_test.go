package main_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// tally has the counts of one wrk.
type tally struct {
	Right, Wrong                  int
	Sample                        string         // a wrong response
	Failed                        map[string]int // by status and type of error
	Connect, Read, Write, Timeout int            // failures of sockets
}

func (a *tally) add(b tally) {
	a.Right, a.Wrong, a.Sample = a.Right+b.Right, a.Wrong+b.Wrong, cmp.Or(a.Sample, b.Sample)
	a.Connect, a.Read, a.Write, a.Timeout = a.Connect+b.Connect, a.Read+b.Read, a.Write+b.Write, a.Timeout+b.Timeout
	if a.Failed == nil {
		a.Failed = map[string]int{}
	}
	for why, n := range b.Failed {
		a.Failed[why] += n
	}
}

// wrkScript has three verbs: the method, the host, and a body. The thread of wrk runs it with another state than setup and done.
const wrkScript = `
wrk.method, wrk.headers["Host"], wrk.body = %[1]q, %[2]q, %[3]q
local want, thread = %[2]q .. " " .. %[2]q, nil
right, wrong, sample, failed = 0, 0, "", {}

function setup(t) thread = t end

function response(status, headers, body)
  if status ~= 200 then
    local why = status .. " " .. (string.match(headers["Proxy-Status"] or "", "error=([%%w_]+)") or "of no type")
    failed[why] = (failed[why] or 0) + 1
  elseif body == want then
    right = right + 1
  else
    wrong, sample = wrong + 1, string.gsub(string.sub(body, 1, 200), '[^%%w .-]', "?")
  end
end

function done(summary, latency, requests)
  local all = {}
  for why, n in pairs(thread:get("failed")) do table.insert(all, string.format('"%%s":%%d', why, n)) end
  local e = summary.errors
  print(string.format('{"right":%%d,"wrong":%%d,"sample":"%%s","failed":{%%s},"connect":%%d,"read":%%d,"write":%%d,"timeout":%%d}',
    thread:get("right"), thread:get("wrong"), thread:get("sample"), table.concat(all, ","), e.connect, e.read, e.write, e.timeout))
end
`

// runWrk sends requests for the host for that time.
func runWrk(ctx context.Context, wrk, dir, url string, h loadHost, d time.Duration) (result tally, err error) {
	script, body := filepath.Join(dir, h.name+".lua"), ""
	if h.method == "POST" {
		body = "body"
	}
	if err := os.WriteFile(script, fmt.Appendf(nil, wrkScript, h.method, h.name, body), 0o600); err != nil {
		return result, err
	}
	out, err := exec.CommandContext(ctx, wrk, "-t1", "-c"+strconv.Itoa(connsPerHost), "-d"+strconv.Itoa(int(d.Seconds()))+"s", "--timeout", "20s", "-s", script, url+"/").CombinedOutput()
	if err != nil {
		return result, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	for line := range bytes.Lines(out) {
		if line[0] == '{' {
			return result, json.Unmarshal(line, &result)
		}
	}
	return result, fmt.Errorf("wrk has not told what it saw:\n%s", out)
}
