// The API as the page calls it: with the session's cookie, its token on what changes something.

export const session = { signed_in: false, csrf_token: "", me: null, key_file: "" };
let signedOut = () => {};

export class ApiError extends Error {
  constructor(status, body) {
    super(body.error ?? `the server answered ${status}`);
    this.status = status;
    this.reason = body.reason ?? "";
    this.details = body.details ?? [];
  }
}

// Called when a call finds that nobody is signed in any more.
export function onSignedOut(callback) {
  signedOut = callback;
}

export async function call(path, { verb = "GET", body = null } = {}) {
  const headers = { accept: "application/json" };
  if (verb !== "GET") headers["x-csrf-token"] = session.csrf_token;
  if (body !== null) headers["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method: verb, headers, body: body === null ? null : JSON.stringify(body) });
  } catch {
    throw new ApiError(0, { error: "the server cannot be reached", reason: "UNREACHABLE" });
  }
  const shown = await answer.json().catch(() => ({}));
  if (answer.ok) return shown;
  if (answer.status === 401 && session.signed_in) signedOut();
  throw new ApiError(answer.status, shown);
}

export const may = (permission) => session.me?.permissions?.includes(permission) ?? false;

export async function readSession() {
  Object.assign(session, { me: null, key_file: "" }, await call("/api/auth/session"));
  return session.signed_in;
}

export async function signIn(key) {
  Object.assign(session, await call("/api/auth/session", { verb: "POST", body: { key } }));
}

export async function signOut() {
  await call("/api/auth/logout", { verb: "POST" });
  Object.assign(session, { signed_in: false, csrf_token: "", me: null });
}
