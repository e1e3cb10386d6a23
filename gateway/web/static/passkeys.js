// Passkeys: asks the browser to make or use one, and sends what it says with the form. The gateway checks all of it.
// Without this script, or in a browser that has no passkeys, nothing of it is offered.

const OWN_WORDS = {
  NotAllowedError: "No passkey was used: it was cancelled, or took too long.",
  InvalidStateError: "This device has a passkey of yours already.",
  SecurityError: "Browsers use passkeys only at the gateway's own address.",
};

async function optionsOf(form) {
  const body = new URLSearchParams({ token: form.elements.token.value });
  const answer = await fetch(form.dataset.options, { method: "POST", body });
  if (answer.redirected) location.assign("/web/sign-in?next=/web/account");
  const said = await answer.json();
  if (!answer.ok) throw new Error(`${said.detail} (${said.hint})`);
  return said;
}

async function ask(form) {
  const options = await optionsOf(form);
  if (form.dataset.passkey === "make") {
    return navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
  }
  return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
}

async function send(form) {
  const said = form.querySelector("[role=alert]");
  const button = form.querySelector("button");
  said.hidden = true;
  button.disabled = true;
  try {
    const credential = await ask(form);
    form.elements.answer.value = JSON.stringify(credential.toJSON());
    // The browser's own key, which sign.js made for the other form of this page, is certified here as well.
    const made = document.querySelector("#sign-in [name=public_key]");
    if (made && form.elements.public_key) form.elements.public_key.value = made.value;
    form.submit();
  } catch (error) {
    said.textContent = OWN_WORDS[error.name] ?? error.message;
    said.hidden = false;
    button.disabled = false;
  }
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const elsewhere = document.getElementById(`${form.id}-elsewhere`);
  if (!globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON) continue;
  if (location.origin !== form.dataset.origin) {
    if (elsewhere) elsewhere.hidden = false;
    continue;
  }
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
}
