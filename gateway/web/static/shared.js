// Opens a link: its secret is behind the # of the address, which no browser sends; it goes in the body of a POST.
"use strict";

const said = document.getElementById("link-said");

function cell(row, content) {
  const made = document.createElement("td");
  made.append(content);
  row.append(made);
}

function show(found) {
  const facts = document.getElementById("link-facts");
  facts.textContent = `${found.path || "All outputs"} of ${found.name}, shared by ${found.by}, until ${new Date(found.expires_at).toLocaleString()}.`;
  facts.hidden = false;
  const table = document.getElementById("link-files");
  for (const file of found.files) {
    const row = document.createElement("tr");
    const link = document.createElement("a");
    link.href = file.url;
    link.rel = "noreferrer";
    link.textContent = file.task === null ? file.path : `task-${file.task}/${file.path}`;
    const digest = document.createElement("code");
    digest.textContent = file.sha256;
    cell(row, link);
    cell(row, String(file.size));
    cell(row, digest);
    table.tBodies[0].append(row);
  }
  table.hidden = false;
  said.hidden = true;
}

async function open() {
  const secret = location.hash.slice(1);
  // The address bar, and what is copied from it or kept in the history, need not have it any longer.
  history.replaceState(null, "", location.pathname);
  if (!secret) {
    said.textContent = "The link is not whole: copy all of it, with what follows the #.";
    return;
  }
  const answer = await fetch(`/api/v1/shared/${said.dataset.link}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ secret }),
    credentials: "omit",
  });
  const found = await answer.json();
  if (answer.ok) show(found);
  else said.textContent = `${found.detail} ${found.hint ? `${found.hint[0].toUpperCase()}${found.hint.slice(1)}.` : ""}`;
}

open().catch(() => { said.textContent = "The gateway does not answer. Try again."; });
