// Asks the browser for a passkey: to make one on its owner's page, or to sign in. The server asks and checks;
// without this file, or without passkeys in the browser, everything else on these pages works.
"use strict";
(() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const known = (list) => (list ?? []).map((one) => ({ ...one, id: bytes(one.id) }));

  async function post(path, body) {
    const answer = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), cache: "no-store",
    });
    const value = await answer.json();
    if (!answer.ok) throw new Error(value.detail);
    return value;
  }

  function said(credential) {
    const given = credential.response, response = { clientDataJSON: text(given.clientDataJSON) };
    for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"])
      if (given[name]) response[name] = text(given[name]);
    return { id: credential.id, rawId: text(credential.rawId), type: credential.type, response, clientExtensionResults: {} };
  }

  async function make(form) {
    const { options, question } = await post("/api/v1/second-factor/passkeys/begin", {
      password: form.elements["passkey-password"]?.value ?? "", alone: form.elements.alone.checked,
    });
    const credential = await navigator.credentials.create({ publicKey: {
      ...options, challenge: bytes(options.challenge), user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: known(options.excludeCredentials),
    } });
    const name = form.elements["passkey-name"].value;
    const made = await post("/api/v1/second-factor/passkeys", { name, question, credential: said(credential) });
    if (!made.recovery_codes.length) return location.reload();
    form.hidden = true;
    const shown = document.getElementById("passkey-codes");
    shown.querySelector("pre").textContent = made.recovery_codes.join("\n");
    shown.hidden = false;
    shown.scrollIntoView();
  }

  async function enter(button) {
    const ticket = button.dataset.ticket;
    const { options, question } = await post("/api/v1/login/passkey/begin", { ticket });
    const credential = await navigator.credentials.get({ publicKey: {
      ...options, challenge: bytes(options.challenge), allowCredentials: known(options.allowCredentials),
    } });
    await post("/api/v1/login/passkey", { ticket, question, credential: said(credential) });
    location.assign(button.dataset.next);
  }

  async function attempt(work, place) {
    const strip = document.getElementById("passkey-error");
    strip.hidden = true;
    place.disabled = true;
    try { await work(); } catch (error) {
      const silent = ["NotAllowedError", "AbortError"].includes(error.name);
      strip.textContent = silent ? "The browser gave no passkey. Try again, or use another way."
        : error.name === "InvalidStateError" ? "This device has a passkey here already." : error.message;
      strip.hidden = false;
    } finally { place.disabled = false; }
  }

  if (!window.PublicKeyCredential || !window.isSecureContext) return;
  for (const part of document.querySelectorAll("[data-passkey]")) part.hidden = false;
  document.querySelector("button[data-passkey]")?.addEventListener("click", (event) =>
    attempt(enter.bind(null, event.currentTarget), event.currentTarget));
  document.querySelector("form[data-passkey]")?.addEventListener("submit", (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    if (form.reportValidity()) attempt(() => make(form), form.querySelector("button"));
  });
})();
