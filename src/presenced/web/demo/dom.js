/**
 * Helpers for elements. They insert text only as text nodes, so a user id cannot become markup.
 */

/**
 * Return the element of `index.html` with this id.
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
 * Return the first descendant that matches.
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
 * Return a copy of a template's content.
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
 * Create an element.
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
 * Set an element's text if it differs. Assigning the same text again would make a live region speak, and would drop the
 * selection.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Return the local time of day, such as `13:05:09`.
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
 * Create a button that ignores the second click of a double click, because another button may have taken its place.
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
 * Return a phrase as plain text with directional isolates, for places without nodes such as a tooltip.
 *
 * @param {import("./v1-descriptions.js").Phrase} phrase
 */
export function isolatedText(phrase) {
  return phrase.map((part) => (typeof part === "string" ? part : `\u2068${part[0]}\u2069`)).join("");
}

/**
 * Set an element's content to a phrase. `bdi` elements isolate text from users.
 *
 * @param {Element} element
 * @param {import("./v1-descriptions.js").Phrase} phrase
 */
export function setPhrase(element, phrase) {
  const text = phrase.map((part) => (typeof part === "string" ? part : part[0])).join("");
  if (element.textContent === text) return;
  element.replaceChildren(...phrase.map((part) => (typeof part === "string" ? part : make("bdi", "", part[0]))));
}
