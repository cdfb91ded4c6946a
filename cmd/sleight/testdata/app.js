// Reads the site in the ways that pages do, and reports what it has read. It is loaded twice: the
// page is reloaded once, so that the browser asks whether what it has is still good.
import {part} from "./part.js";

const headersOf = r => Object.fromEntries([...r.headers].filter(([name]) => name != "date"));

// read returns all that a page may know of an answer.
async function read(path, init) {
	const r = await fetch(path, init);
	return {status: r.status, url: r.url, redirected: r.redirected, headers: headersOf(r), body: await r.text()};
}

const cookies = () => document.cookie.split("; ").sort().join("; ");

function preloaded(path) {
	return new Promise(resolve => new PerformanceObserver(list => {
		for (const e of list.getEntries()) if (new URL(e.name).pathname == path) resolve(e.name);
	}).observe({type: "resource", buffered: true}));
}

async function post(path) {
	const sent = new Uint8Array(100_000).map((_, i) => i * i);
	const r = await fetch(path, {method: "POST", body: sent});
	const got = new Uint8Array(await r.arrayBuffer());
	return {status: r.status, url: r.url, length: got.length, same: got.every((b, i) => b == sent[i])};
}

async function pieces() {
	const all = [];
	for await (const piece of (await fetch("/stream")).body.pipeThrough(new TextDecoderStream())) {
		all.push(piece);
		await fetch("/next", {method: "POST"});
	}
	return all;
}

function events() {
	return new Promise(resolve => {
		const source = new EventSource("/events"), all = [];
		source.onmessage = e => {
			if (all.push(e.data) < 2) return; // the browser connects again by itself
			source.close();
			resolve(all);
		};
	});
}

// talk sends one message after each that it gets, and close ends it from this side.
function talk(messages, close) {
	return new Promise(resolve => {
		const socket = new WebSocket(location.origin.replace("http", "ws") + "/socket?a=1;b", ["other", "echo"]), got = [];
		socket.binaryType = "arraybuffer";
		socket.onmessage = e => {
			got.push(typeof e.data == "string" ? e.data.length + " " + e.data.slice(-5) : [...new Uint8Array(e.data)]);
			if (messages.length) socket.send(messages.shift());
			else close(socket);
		};
		socket.onclose = e => resolve({protocol: socket.protocol, got, code: e.code, reason: e.reason, clean: e.wasClean});
	});
}

async function report() {
	const image = document.querySelector("img");
	const r = {
		title: document.title, host: location.hostname, path: location.pathname + location.search, part,
		referrer: document.referrer, cookies: cookies(), navigation: performance.getEntriesByType("navigation")[0].type,
		image: [image.naturalWidth, image.naturalHeight], color: getComputedStyle(document.body.appendChild(document.createElement("p"))).color,
		preloaded: await preloaded("/preloaded.css"),
	};
	r.text = await read("/text");
	r.again = await read("/text", {cache: "no-cache"});
	r.range = await read("/blob", {headers: {Range: "bytes=100000-100015"}});
	r.unsatisfiable = await read("/blob", {headers: {Range: "bytes=99999999-"}});
	r.seen = await read("/seen/a%2Fb%20c;d?x=1;y&z=%2B+%C3%BC");
	r.account = await read("/seen/account/x");
	r.posted = await post("/echo");
	r.moved = await post("/moved");
	r.statuses = [await read("/status/404"), await read("/status/500"), await read("/status/503")];
	r.pieces = await pieces();
	r.events = await events();
	r.closedByServer = await talk(["one", "ü".repeat(50_000), new Uint8Array([0, 255, 10, 13]), "end"], () => {});
	r.closedByPage = await talk(["one"], socket => socket.close(4002, "done"));
	r.logout = await read("/logout", {method: "POST"});
	r.cookiesAfter = cookies();
	r.after = (await fetch("/", {redirect: "manual"})).type;
	return JSON.stringify(r);
}

async function main() {
	if (performance.getEntriesByType("navigation")[0].type != "reload") return location.reload();
	const body = await report().catch(e => "failed: " + e + "\n" + e.stack);
	await fetch("/result", {method: "POST", body});
}

if (document.readyState == "complete") main();
else addEventListener("load", main);
