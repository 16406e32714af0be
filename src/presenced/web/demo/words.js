/** Words and numbers for sentences about people. */

/** @typedef {{ pronoun: string }} Someone `she` or `he`. */

/** Maximum number of characters of a quoted text. */
const MAX_QUOTED = 40;

const OBJECTS = new Map([["she", "her"], ["he", "him"]]);
const POSSESSIVES = new Map([["she", "her"], ["he", "his"]]);

/**
 * @param {readonly string[]} names
 * @param {ReadonlySet<string>} chosen
 */
export function inOrder(names, chosen) {
  return names.filter((name) => chosen.has(name));
}

/**
 * Return an enumeration: `Ada, Bob and Cleo`.
 *
 * @param {readonly string[]} names
 */
export function list(names) {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

/**
 * @param {number} ms
 */
export function seconds(ms) {
  return ms < 10_000 ? `${(ms / 1000).toFixed(1)} seconds` : `${Math.round(ms / 1000)} seconds`;
}

/**
 * @param {number} ms
 */
export function milliseconds(ms) {
  return ms < 1000 ? `${Math.max(1, Math.round(ms))} milliseconds` : seconds(ms);
}

/**
 * @param {number} subjects
 */
export function plural(subjects) {
  return subjects === 1 ? "s" : "";
}

/**
 * Return a text in quotation marks, shortened so that it does not outweigh the rest of a sentence.
 *
 * @param {string} text
 */
export function quoted(text) {
  const characters = [...text];
  return `“${characters.length > MAX_QUOTED ? `${characters.slice(0, MAX_QUOTED).join("")}…` : text}”`;
}

/**
 * @param {string} text
 */
export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/**
 * @param {Someone} who
 */
export function object({ pronoun }) {
  return OBJECTS.get(pronoun) ?? "them";
}

/**
 * @param {Someone} who
 */
export function possessive({ pronoun }) {
  return POSSESSIVES.get(pronoun) ?? "their";
}

/**
 * @param {number} n
 */
export function count(n) {
  return ["No", "One", "Two", "Three", "Four"][n] ?? String(n);
}
