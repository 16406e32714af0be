/**
 * Elements of the page. Text goes in as text nodes alone, so that no user id can become markup.
 */

/**
 * The element of `index.html` with this id.
 *
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function byId(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`index.html has no ${kind.name} with the id ${id}`);
  return element;
}

/**
 * The first descendant that matches.
 *
 * @param {ParentNode} root
 * @param {string} selector
 * @returns {HTMLElement}
 */
export function find(root, selector) {
  const element = root.querySelector(selector);
  if (!(element instanceof HTMLElement)) throw new Error(`nothing matches ${selector}`);
  return element;
}

/**
 * A copy of what a template holds.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export function fromTemplate(id) {
  const copy = byId(id, HTMLTemplateElement).content.firstElementChild?.cloneNode(true);
  if (!(copy instanceof HTMLElement)) throw new Error(`the template ${id} is empty`);
  return copy;
}

/**
 * A new element.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} [className]
 * @param {string} [text]
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

/**
 * Set text only where it differs: an assignment, even of the same text, makes a live region speak and drops what a
 * person has selected.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * The time of day as people read it.
 *
 * @param {number} epochMs
 * @param {boolean} [milliseconds]
 */
export function clockTime(epochMs, milliseconds = false) {
  const at = new Date(epochMs);
  const seconds = [at.getHours(), at.getMinutes(), at.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":");
  return milliseconds ? `${seconds}.${String(at.getMilliseconds()).padStart(3, "0")}` : seconds;
}

/**
 * A button that does something once per click; the second half of a double click would hit whatever button has
 * taken its place by then.
 *
 * @param {string} label
 * @param {() => void} action
 */
export function button(label, action) {
  const element = make("button", "", label);
  element.type = "button";
  element.addEventListener("click", (event) => {
    if (event.detail < 2) action();
  });
  return element;
}

/**
 * Words as plain text, for places without nodes such as a tooltip. Isolates separate text from users.
 *
 * @param {import("./v1-words.js").Words} words
 */
export function isolated(words) {
  return words.map((part) => (typeof part === "string" ? part : `\u2068${part[0]}\u2069`)).join("");
}

/**
 * Words as nodes: an id or somebody's text is kept apart from the sentence around it, whatever its direction.
 *
 * @param {Element} element
 * @param {import("./v1-words.js").Words} words
 */
export function setWords(element, words) {
  const text = words.map((part) => (typeof part === "string" ? part : part[0])).join("");
  if (element.textContent === text) return;
  element.replaceChildren(...words.map((part) => (typeof part === "string" ? part : make("bdi", "", part[0]))));
}
