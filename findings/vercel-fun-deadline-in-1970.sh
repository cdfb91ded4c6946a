#!/usr/bin/env bash
# @vercel/fun 1.3.6 (npm, runs Lambda functions on the developer's machine): each invocation has a deadline in January 1970.
#
# The Runtime API's field Lambda-Runtime-Deadline-Ms is a date: the milliseconds since 1970 at which the invocation ends. A good guess is
# that a local runtime sends the present plus the function's time-out. @vercel/fun sends the text "5000", which looks like a duration,
# whatever the time-out is.
#
# Seen, for functions with Timeout 30 and 60: deadline "5000", which is 1970-01-01T00:00:05.000Z, more than fifty years before the invocation.
#
# Why it matters to a proxy: a handler ends its request to the origin at its own deadline (aws-lambda-go puts that into the context). Here
# each request ends before it is dialled, and the error looks like a time-out of the origin. A proxy has to compare the
# deadline with the time at which the invocation begins, and to name it or leave it out if it is over by then.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{"private": true}' >package.json
timeout -k 5 300 npm install --silent --no-audit --no-fund --cache "$dir/cache" @vercel/fun@1.3.6

# The function answers each event with the deadline that it was given, and the time.
mkdir function
cat >function/bootstrap <<'JS'
#!/usr/bin/env node
const invocation = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation`;
(async () => {
  for (;;) {
    const next = await fetch(`${invocation}/next`);
    await next.text();
    const answer = { deadline: next.headers.get("Lambda-Runtime-Deadline-Ms"), now: Date.now() };
    const id = next.headers.get("Lambda-Runtime-Aws-Request-Id");
    await fetch(`${invocation}/${id}/response`, { method: "POST", body: JSON.stringify(answer) });
  }
})();
JS
chmod +x function/bootstrap

cat >try.cjs <<'JS'
const { createFunction } = require("@vercel/fun");

(async () => {
  let past = 0;
  for (const Timeout of [30, 60]) {
    const fn = await createFunction({
      Code: { Directory: `${__dirname}/function` }, Handler: "none", Runtime: "provided", Timeout,
    });
    try {
      const { deadline, now } = await fn({});
      console.log(`Timeout ${Timeout}: at ${new Date(now).toISOString()} the deadline is ${JSON.stringify(deadline)},`
        + ` which is ${new Date(Number(deadline)).toISOString()}`);
      if (Number(deadline) < now) past++;
    } finally {
      await fn.destroy();
    }
  }
  if (past !== 2) throw new Error("changed: the deadline is not in the past");
  console.log("as described: the deadline was over before the invocation began");
})().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
JS
# @vercel/fun copies its runtimes into the user's cache folder.
XDG_CACHE_HOME="$dir/xdg" timeout -k 5 60 node try.cjs
