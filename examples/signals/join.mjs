// Joins a run from JavaScript: waits for "go", does its part, says "node-done". RUN=<id of the run> node join.mjs
const base = `${process.env.LABCTL_URL ?? "http://127.0.0.1:8470"}/api/v1/runs/${process.env.RUN}/signals`;

async function ask(path, options) {
  for (;;) { // the lab holds the question until there is an answer; it may restart meanwhile
    const answer = await fetch(`${base}/${path}`, options).catch(() => ({ status: 503 }));
    if (answer.status === 200 || answer.status === 201) return answer.json();
    if (answer.status >= 400 && answer.status < 500) throw new Error(await answer.text());
    if (answer.status !== 204) await new Promise((wake) => setTimeout(wake, 500));
  }
}

const go = await ask("go?wait=30s");
await ask("node-done", { method: "POST", body: JSON.stringify({ heard: go.payload }) });
