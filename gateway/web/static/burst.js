// What a page shows of time: points on the reader's own clock, and how long ago something began, counting on.
// Without this script the pages say the same in UTC.
"use strict";

const two = (number) => String(number).padStart(2, "0");

function onClock(text) {
  const when = new Date(text);
  const day = `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())}`;
  const time = `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}`;
  return new Date().toDateString() === when.toDateString() ? time : `${day} ${time}`;
}

function length(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [minutes, hours, days] = [Math.floor(whole / 60), Math.floor(whole / 3600), Math.floor(whole / 86400)];
  if (whole < 60) return `${whole} s`;
  if (hours < 1) return `${minutes} min ${two(whole % 60)} s`;
  return days < 1 ? `${hours} h ${two(minutes % 60)} min` : `${days} d ${hours % 24} h`;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tell() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    time.title = time.dateTime;
    write(time, onClock(time.dateTime));
  }
  for (const span of document.querySelectorAll(".elapsed[data-since]")) {
    write(span, `for ${length((Date.now() - Date.parse(span.dataset.since)) / 1000)}`);
  }
}

tell();
setInterval(tell, 1000);
document.addEventListener("htmx:after:swap", tell);
