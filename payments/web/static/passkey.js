// A form that asks the browser for a passkey and sends what it answers. Without this file, or in a
// browser without passkeys, the form stays hidden and a link from the command line is the way in.
const bytes = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (character) => character.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const named = (keys) => (keys ?? []).map((key) => ({ ...key, id: bytes(key.id) }));

function asked({ user, ...options }) {
  return {
    ...options,
    challenge: bytes(options.challenge),
    ...(user && { user: { ...user, id: bytes(user.id) } }),
    excludeCredentials: named(options.excludeCredentials),
    allowCredentials: named(options.allowCredentials),
  };
}

function answered({ id, rawId, type, response }) {
  const parts = ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"];
  const given = parts.filter((part) => response[part]).map((part) => [part, text(response[part])]);
  return JSON.stringify({ id, rawId: text(rawId), type, response: Object.fromEntries(given) });
}

async function send(form) {
  const status = form.querySelector("[role=status]");
  const button = form.querySelector("button");
  status.textContent = status.dataset.waiting;
  button.disabled = true;
  try {
    const publicKey = asked(JSON.parse(form.dataset.options));
    form.elements.answer.value = answered(await navigator.credentials[form.dataset.passkey]({ publicKey }));
    form.submit();
  } catch (error) {
    status.textContent = error.name == "InvalidStateError" ? status.dataset.known : status.dataset.failed;
    button.disabled = false;
    button.focus();
  }
}

if (globalThis.PublicKeyCredential) {
  for (const hidden of document.querySelectorAll("[data-passkey], [data-with-passkey]")) hidden.hidden = false;
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send(form);
    });
  }
}
