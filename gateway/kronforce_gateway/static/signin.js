// Signing in with a key.
import { el, show, title } from "/static/dom.js";
import { session, signIn } from "/static/api.js";

export function signInView(done, why = "") {
  title("Sign in");
  const key = el("input", { type: "password", name: "key", autocomplete: "current-password", required: true, placeholder: "kf_…", spellcheck: "false" });
  const problem = el("p", { class: "problem", role: "alert" }, why);
  const button = el("button", { type: "submit" }, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    try {
      await signIn(key.value);
      done();
    } catch (error) {
      problem.textContent = error.message;
      key.select();
    } finally {
      button.disabled = false;
    }
  };
  const where = session.key_file
    ? el("p", { class: "hint" }, "On this host the admin's key is in ", el("code", {}, session.key_file))
    : el("p", { class: "hint" }, "An admin makes keys with ", el("code", {}, "kronforce key create"), ".");
  show(
    el("section", { class: "card sign-in" },
      el("form", { onsubmit: submit },
        el("div", { class: "title" }, el("img", { src: "/static/icon.svg", alt: "", width: "30", height: "30" }), el("h1", {}, "Kronforce")),
        el("label", {}, "API key", key),
        problem,
        button,
        where)),
  );
  key.focus();
}
