// The browser's own key: made here, never readable, certified when its user signs in. What changes a job is signed with
// it, exactly as the commands sign (gateway/identity/signature.py). Without Ed25519 in the browser, pages only look.
"use strict";

const DATABASE = "burst";
const STORE = "keys";

function bytesOf(text) {
  return new TextEncoder().encode(text);
}

function base64url(bytes) {
  const text = btoa(String.fromCharCode(...new Uint8Array(bytes)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function inStore(mode, act) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const request = act(opening.result.transaction(STORE, mode).objectStore(STORE));
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    };
  });
}

async function makeKey(field) {
  const pair = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
  const { kty, crv, x } = await crypto.subtle.exportKey("jwk", pair.publicKey);
  await inStore("readwrite", (store) => store.clear());
  await inStore("readwrite", (store) => store.put(pair.privateKey, x));
  field.value = JSON.stringify({ kty, crv, x });
}

async function sign(key, method, path, body) {
  const { session, audience } = document.body.dataset;
  const now = Math.floor(Date.now() / 1000);
  const header = { alg: "Ed25519", kid: session, typ: "burst-request+jws" };
  const claims = {
    iss: session,
    htm: method,
    htu: path,
    bsh: base64url(await crypto.subtle.digest("SHA-256", body)),
    aud: audience,
    iat: now,
    exp: now + 60,
    jti: base64url(crypto.getRandomValues(new Uint8Array(16))),
  };
  const signed = [header, claims].map((part) => base64url(bytesOf(JSON.stringify(part)))).join(".");
  const signature = await crypto.subtle.sign("Ed25519", key, bytesOf(signed));
  return `${signed}.${base64url(signature)}`;
}

async function cancel(button, key) {
  const said = document.getElementById("cancel-said");
  const path = button.dataset.cancel;
  button.disabled = true;
  try {
    const token = await sign(key, "POST", path, new Uint8Array());
    const answer = await fetch(path, { method: "POST", headers: { Authorization: `Burst ${token}` } });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    button.hidden = true;
  } catch (error) {
    said.textContent = error.message;
    said.hidden = false;
    button.disabled = false;
  }
}

async function offerCancel(button) {
  const key = await inStore("readonly", (store) => store.get(document.body.dataset.key));
  if (!key) return;
  const sure = document.getElementById("sure");
  button.hidden = false;
  button.addEventListener("click", () => {
    sure.returnValue = "no";
    sure.showModal();
  });
  sure.addEventListener("close", () => sure.returnValue === "yes" && cancel(button, key));
}

const field = document.querySelector("#sign-in [name=public_key]");
const button = document.querySelector("[data-cancel]");
if (globalThis.crypto?.subtle) {
  // A browser without Ed25519 makes no key: one signs in all the same, and looks.
  if (field) makeKey(field).catch(() => (field.value = ""));
  if (button && document.body.dataset.key) offerCancel(button).catch(() => {});
}
