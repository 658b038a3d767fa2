// Solves the challenge of payments/risk/proof_of_work.py in the browser, then sends the form.
const form = document.querySelector("form[data-challenge]");
const bytes = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
const hex = (buffer) => Array.from(new Uint8Array(buffer), (b) => b.toString(16).padStart(2, "0")).join("");

async function solve({ nonce, salt, cost, keyLength, keyPrefix }) {
  const password = new Uint8Array([...bytes(nonce), 0, 0, 0, 0]);
  const view = new DataView(password.buffer, 16);
  const rounds = { name: "PBKDF2", hash: "SHA-256", salt: bytes(salt), iterations: cost };
  for (let counter = 0; ; counter++) {
    view.setUint32(0, counter);
    const key = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
    const derivedKey = hex(await crypto.subtle.deriveBits(rounds, key, keyLength * 8));
    if (derivedKey.startsWith(keyPrefix)) return { counter, derivedKey };
  }
}

// A reader who comes back to this page from the next one wants the page before it.
const cameBack = performance.getEntriesByType("navigation")[0]?.type === "back_forward";
// Without a secure context there is no crypto.subtle: the queue is still there.
if (form && cameBack) history.back();
else if (form && globalThis.crypto?.subtle) {
  const status = document.getElementById("status");
  status.textContent = status.dataset.working;
  const challenge = JSON.parse(form.dataset.challenge);
  solve(challenge.parameters).then((solution) => {
    form.elements.proof.value = btoa(JSON.stringify({ challenge, solution }));
    status.textContent = status.dataset.done;
    form.submit();
  });
}
