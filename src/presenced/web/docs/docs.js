/**
 * The page that describes the HTTP API, generated from `openapi.json`. It inserts text only as text nodes.
 */

import { button, byId, make } from "../demo/dom.js";
import { fieldsOf, operationsOf, parameterFields } from "./openapi.js";
import { curlOf, exampleOf, requestOf } from "./request.js";
import { tryIt } from "./try-it.js";

/** @typedef {import("./openapi.js").Document} Document */
/** @typedef {import("./openapi.js").Operation} Operation */
/** @typedef {import("./openapi.js").Field} Field */

const COPIED_FOR = 1500;

/** @param {Document} api */
function show(api) {
  byId("about", HTMLElement).textContent = api.info.description;
  byId("version", HTMLElement).textContent = `· version ${api.info.version}`;
  const operations = operationsOf(api);
  const groups = [...new Set(operations.map((operation) => operation.group))];
  for (const group of groups) {
    const own = operations.filter((operation) => operation.group === group);
    byId("contents", HTMLElement).append(contents(group, own));
    byId("endpoints", HTMLElement).append(section(api, group, own));
  }
  unfold(location.hash);
  byId("fold", HTMLButtonElement).hidden = false;
}

/**
 * Unfold the endpoint of a link, and scroll to it.
 *
 * @param {string} hash
 */
function unfold(hash) {
  const endpoint = hash ? document.getElementById(decodeURIComponent(hash.slice(1))) : null;
  if (!endpoint) return;
  for (const part of [endpoint.closest(".group"), endpoint.querySelector("details")]) {
    if (part instanceof HTMLDetailsElement) part.open = true;
  }
  endpoint.scrollIntoView();
}

/** Fold all endpoints, or unfold them if all are folded. */
function foldAll() {
  const endpoints = [...document.querySelectorAll("details.about")];
  const isFolded = endpoints.every((part) => part instanceof HTMLDetailsElement && !part.open);
  for (const part of endpoints) if (part instanceof HTMLDetailsElement) part.open = isFolded;
  labelFold();
}

function labelFold() {
  const isFolded = !document.querySelector("details.about[open]");
  byId("fold", HTMLButtonElement).textContent = isFolded ? "Unfold all" : "Fold all";
}

/**
 * @param {string} group
 * @param {Operation[]} operations
 */
function contents(group, operations) {
  const part = make("div");
  part.append(make("h2", "", group));
  for (const operation of operations) {
    const link = make("a");
    link.href = `#${operation.id}`;
    link.append(method(operation), make("span", "", operation.path));
    link.addEventListener("click", () => unfold(link.hash)); // the hash may be the present one
    part.append(link);
  }
  return part;
}

/** @param {Operation} operation */
function method(operation) {
  const element = make("span", "method", operation.method);
  element.dataset.method = operation.method;
  return element;
}

/**
 * @param {Document} api
 * @param {string} group
 * @param {Operation[]} operations
 */
function section(api, group, operations) {
  const part = make("details", "group");
  const head = make("summary");
  head.append(make("h2", "", group));
  part.open = true;
  part.append(head, ...operations.map((operation) => endpoint(api, operation)));
  return part;
}

/**
 * @param {Document} api
 * @param {Operation} operation
 */
function endpoint(api, operation) {
  const part = make("article", "endpoint");
  part.id = operation.id;
  const title = make("h3");
  title.append(method(operation), make("span", "", operation.path), make("span", "scope", `scope ${operation.scope}`));
  const head = make("summary");
  head.append(title, make("p", "", operation.summary));
  const about = make("details", "about");
  about.addEventListener("toggle", labelFold);
  about.append(head, withCode(make("p", "hint"), operation.description));
  const command = make("pre", "", curlOf(requestOf(operation, exampleOf(operation), location.origin)));
  about.append(copyable(command));
  about.append(tryIt(operation, (request) => (command.textContent = curlOf(request))));
  if (operation.parameters.length) about.append(make("h4", "", "Parameters"), table(parameterFields(operation)));
  if (operation.body) about.append(make("h4", "", "Body"), table(fieldsOf(api, operation.body)));
  for (const response of operation.answers) {
    about.append(make("h4", "", `${response.status} · ${response.description}`));
    if (response.schema) about.append(table(fieldsOf(api, response.schema)));
    if (response.example) about.append(sample(make("pre", "", JSON.stringify(response.example, null, 2))));
  }
  about.append(make("h4", "", "Refusals"), table(operation.refusals));
  part.append(about);
  return part;
}

/** @param {Field[]} fields */
function table(fields) {
  const element = make("table", "fields");
  const body = element.createTBody();
  for (const field of fields) {
    const row = body.insertRow();
    row.className = `depth-${Math.min(field.depth, 3)}`;
    row.insertCell().append(make("span", field.needed ? "needed" : "", field.name));
    row.insertCell().textContent = field.type;
    withCode(row.insertCell(), field.description);
  }
  return element;
}

/**
 * Append text, with `code` elements for parts between backticks.
 *
 * @template {HTMLElement} T
 * @param {T} element
 * @param {string} text
 * @returns {T}
 */
function withCode(element, text) {
  element.append(...text.split("`").map((part, index) => (index % 2 ? make("code", "", part) : part)));
  return element;
}

/** @param {HTMLPreElement} pre */
function sample(pre) {
  const part = make("div", "sample");
  pre.tabIndex = 0; // so that the keyboard can scroll it
  part.append(pre);
  return part;
}

/** @param {HTMLPreElement} pre */
function copyable(pre) {
  const part = sample(pre);
  part.classList.add("curl");
  const copy = button("Copy", () => {
    navigator.clipboard.writeText(pre.textContent ?? "").then(
      () => say("Copied"),
      () => say("Not allowed"),
    );
  });
  /** @param {string} words */
  const say = (words) => {
    copy.textContent = words;
    setTimeout(() => (copy.textContent = "Copy"), COPIED_FOR);
  };
  part.append(copy);
  return part;
}

/** @param {string} words */
function find(words) {
  const wanted = words.trim().toLowerCase();
  for (const link of document.querySelectorAll("#contents a")) {
    const element = document.getElementById(link.getAttribute("href")?.slice(1) ?? "");
    const found = !wanted || (element?.textContent ?? "").toLowerCase().includes(wanted);
    for (const one of [link, element]) if (one instanceof HTMLElement) one.hidden = !found;
  }
  for (const group of document.querySelectorAll("#contents > div, .group")) {
    if (group instanceof HTMLElement) group.hidden = !group.querySelector("a:not([hidden]), article:not([hidden])");
  }
}

byId("find", HTMLInputElement).addEventListener("input", (event) => {
  if (event.target instanceof HTMLInputElement) find(event.target.value);
});

byId("fold", HTMLButtonElement).addEventListener("click", foldAll);
byId("confirm-send", HTMLButtonElement).addEventListener("click", () => byId("confirm", HTMLDialogElement).close("send"));
byId("confirm-cancel", HTMLButtonElement).addEventListener("click", () => byId("confirm", HTMLDialogElement).close());
addEventListener("hashchange", () => unfold(location.hash));
addEventListener("pagehide", () => (byId("key", HTMLInputElement).value = "")); // the page may stay in a cache

fetch(new URL("../openapi.json", import.meta.url))
  .then((response) => (response.ok ? response.json() : Promise.reject(new Error(`status ${response.status}`))))
  .then(show)
  .catch((error) => {
    const banner = byId("failed", HTMLElement);
    banner.hidden = false;
    banner.textContent = `openapi.json can't be read: ${error.message}`;
  });
