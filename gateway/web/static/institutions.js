// The browser's own key, which sign.js made for the password's form, goes with the sign-in at an institution as well.

for (const form of document.querySelectorAll("form.institution")) {
  form.addEventListener("submit", () => {
    const made = document.querySelector("#sign-in [name=public_key]");
    if (made && form.elements.public_key) form.elements.public_key.value = made.value;
  });
}
