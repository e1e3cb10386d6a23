// What makes a page hard to use for somebody who cannot see it well, as a list of sentences; none is good.
// After WCAG 2.2: 1.1.1, 1.3.1, 1.4.3, 2.4.2, 2.4.6, 3.1.1, 4.1.2.
() => {
  const wrong = [];
  const shown = (element) => element.checkVisibility() && !element.closest(".unseen, .skip, #plot");
  const all = (selector) => [...document.querySelectorAll(selector)].filter(shown);
  const named = (element) => (element.getAttribute("aria-label") ?? element.textContent).trim();

  if (!document.documentElement.lang) wrong.push("the page has no language");
  if (!document.title.includes("·")) wrong.push("the page has no title of its own");
  if (all("h1").length !== 1) wrong.push(`${all("h1").length} main headings`);
  if (all("main").length !== 1) wrong.push("not one main landmark");
  let level = 0;
  for (const heading of all("h1, h2, h3, h4")) {
    const next = Number(heading.tagName[1]);
    if (next > level + 1) wrong.push(`heading level ${level} is followed by ${next}`);
    level = next;
  }
  for (const one of all("a, button, summary")) if (!named(one)) wrong.push(`no name: ${one.outerHTML}`);
  for (const one of all("input:not([type=hidden]), select, textarea")) if (!one.labels.length) wrong.push(`no label: ${one.name}`);
  for (const one of all("img:not([alt])")) wrong.push(`no text for ${one.src}`);
  for (const one of all("table")) if (!one.caption) wrong.push("a table without a caption");
  for (const one of all("thead th:not([scope])")) wrong.push(`a column without scope: ${one.textContent}`);
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push(`id twice: ${id}`);

  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.unshift(rgba(getComputedStyle(at).backgroundColor));
    return layers.reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || seen.has(element) || !shown(element)) continue;
    seen.add(element);
    const style = getComputedStyle(element);
    const behind = ground(element);
    const [more, less] = [light(over(rgba(style.color), behind)), light(behind)].sort((a, b) => b - a);
    const ratio = (more + 0.05) / (less + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) wrong.push(`contrast ${ratio.toFixed(2)}: ${element.textContent.trim().slice(0, 40)}`);
  }
  return wrong;
};
