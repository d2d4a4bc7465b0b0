// A custom agent over HTTP in TypeScript, on Node 20 with nothing else: register, poll, work, call
// back. The twin of custom_agent_http.py; it runs tasks of type `node` ({"script": …, "args": […]}).
//
//   tsc --module nodenext --target es2022 --types node custom_agent_http.mts
//   KRONFORCE_URL=http://127.0.0.1:8080 KRONFORCE_AGENT_KEY=kf_… node custom_agent_http.mjs
//
// What it was given it notes in a file before it begins, and how it ended before it reports that:
// killed and started again, it reports what it knows and does nothing twice.

import { execFile } from "node:child_process";
import * as fs from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";

const URL_ = (process.env.KRONFORCE_URL ?? "http://127.0.0.1:8080").replace(/\/$/, "");
const KEY = process.env.KRONFORCE_AGENT_KEY ?? "";
const NAME = process.env.AGENT_NAME ?? "node-http";
const NOTES = process.env.AGENT_NOTES ?? `${NAME}.notes`;
const WAIT_SECS = 30;
const RETRY_MS = 1_000;
const OUTPUT_MAX = 1_000_000;

interface Work {
  execution_id: string;
  job_id: string;
  agent_id: string;
  callback_url: string;
  timeout_secs: number;
  task: { agent_task_type: string; data: { script: string; args?: string[] } };
}
type Report = { execution_id: string; status: string; [more: string]: unknown };
type Note = { work: Work; report?: Report };

class Refused extends Error {}
const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** The reply, over restarts of the controller; null where there is none. Throws what is refused. */
async function untilDone<T>(method: string, url: string, body?: unknown): Promise<T | null> {
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (KEY) headers.authorization = `Bearer ${KEY}`;
  for (;;) {
    try {
      const reply = await fetch(url, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: AbortSignal.timeout((WAIT_SECS + 10) * 1_000),
      });
      const text = await reply.text();
      if (reply.ok) return text ? (JSON.parse(text) as T) : null;
      if (reply.status < 500 && reply.status !== 429) throw new Refused(text);
    } catch (error) {
      if (error instanceof Refused) throw error;
    }
    await pause(RETRY_MS);
  }
}

const fileOf = (executionId: string) => join(NOTES, `${executionId}.json`);

/** On the disk before anything follows from it. */
function note(content: Note): void {
  const path = fileOf(content.work.execution_id);
  const file = fs.openSync(`${path}.new`, "w");
  fs.writeSync(file, JSON.stringify(content));
  fs.fsyncSync(file);
  fs.closeSync(file);
  fs.renameSync(`${path}.new`, path);
}

function run(work: Work): Promise<Report> {
  const { script, args = [] } = work.task.data;
  const began = new Date().toISOString();
  const options = { timeout: work.timeout_secs * 1_000, maxBuffer: 64 << 20 };
  return new Promise((done) => {
    execFile(process.execPath, ["-e", script, ...args], options, (error, stdout, stderr) => {
      const cut = (text: string) => text.slice(0, OUTPUT_MAX);
      const code = error === null ? 0 : error.code;
      done({
        execution_id: work.execution_id,
        job_id: work.job_id,
        agent_id: work.agent_id,
        status: error === null ? "succeeded" : error.killed ? "timed_out" : "failed",
        ...(typeof code === "number" ? { exit_code: code } : {}),
        stdout: cut(stdout),
        stderr: cut(stderr),
        stdout_truncated: stdout.length > OUTPUT_MAX,
        stderr_truncated: stderr.length > OUTPUT_MAX,
        started_at: began,
        finished_at: new Date().toISOString(),
      });
    });
  });
}

/** Report until it is taken, then forget it. */
async function finish(work: Work, report: Report): Promise<void> {
  note({ work, report });
  await untilDone("POST", work.callback_url, report).catch((error: Error) => {
    console.log(`refused: ${error.message}`);
  });
  fs.unlinkSync(fileOf(work.execution_id));
}

fs.mkdirSync(NOTES, { recursive: true });
const who = { name: NAME, agent_type: "custom", hostname: hostname() };
const me = await untilDone<{ agent_id: string }>("POST", `${URL_}/api/agents/register`, who);
for (const name of fs.readdirSync(NOTES).filter((each) => each.endsWith(".json"))) {
  const { work, report } = JSON.parse(fs.readFileSync(join(NOTES, name), "utf8")) as Note;
  const message = "its agent was killed while it ran";
  await finish(work, report ?? { execution_id: work.execution_id, status: "failed", message });
}
for (;;) {
  const next = `${URL_}/api/agent-queue/${me!.agent_id}/next?wait=${WAIT_SECS}`;
  const work = await untilDone<Work>("GET", next);
  if (work === null) continue;
  note({ work });
  await finish(work, await run(work));
}
