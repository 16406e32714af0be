/**
 * What a tab knows after a reload: lists of texts, kept by the browser for as long as the tab lives; and what a person
 * prefers, kept for later tabs, too.
 */

/**
 * @param {string} key
 * @param {readonly string[]} texts
 */
export function remember(key, texts) {
  try {
    sessionStorage.setItem(key, JSON.stringify(texts));
  } catch {
    // storage is full or forbidden: the page works, and forgets
  }
}

/**
 * @param {string} key
 * @returns {string[]}
 */
export function recall(key) {
  try {
    /** @type {unknown} */
    const value = JSON.parse(sessionStorage.getItem(key) ?? "[]");
    return Array.isArray(value) ? value.filter((text) => typeof text === "string") : [];
  } catch {
    return []; // storage is forbidden, or holds what this page did not write
  }
}

/**
 * Keep a choice for this and later tabs.
 *
 * @param {string} key
 * @param {string} text
 */
export function prefer(key, text) {
  try {
    localStorage.setItem(key, text);
  } catch {
    // as above
  }
}

/**
 * @param {string} key
 */
export function preferred(key) {
  try {
    return localStorage.getItem(key) ?? "";
  } catch {
    return "";
  }
}
