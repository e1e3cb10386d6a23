// Ends a login: a request to the API that the browser's own key signs (sign.js). Without a key the page only looks.
"use strict";

async function endLogin(button, key) {
  const said = document.getElementById("end-said");
  const path = button.dataset.end;
  button.disabled = true;
  try {
    const token = await sign(key, "DELETE", path, new Uint8Array());
    const answer = await fetch(path, { method: "DELETE", headers: { Authorization: `Burst ${token}` } });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    location.reload();
  } catch (error) {
    said.textContent = error.message;
    said.hidden = false;
    button.disabled = false;
  }
}

async function offerEnds(buttons) {
  const key = await inStore("readonly", (store) => store.get(document.body.dataset.key));
  if (!key) return;
  for (const one of buttons) {
    one.hidden = false;
    one.addEventListener("click", () => endLogin(one, key));
  }
}

if (globalThis.crypto?.subtle && document.body.dataset.key) {
  offerEnds(document.querySelectorAll("[data-end]")).catch(() => {});
}
