/**
 * Storage in the browser: lists of strings that survive a reload of the tab, and preferences that later tabs share.
 */

/**
 * Store strings until the tab is closed.
 *
 * @param {string} key
 * @param {readonly string[]} texts
 */
export function saveForTab(key, texts) {
  try {
    if (texts.length) sessionStorage.setItem(key, JSON.stringify(texts));
    else sessionStorage.removeItem(key);
  } catch {
    // Storage is full or blocked. The page works without it.
  }
}

/**
 * Return the stored strings, or an empty list.
 *
 * @param {string} key
 * @returns {string[]}
 */
export function loadForTab(key) {
  try {
    /** @type {unknown} */
    const value = JSON.parse(sessionStorage.getItem(key) ?? "[]");
    return Array.isArray(value) ? value.filter((text) => typeof text === "string") : [];
  } catch {
    return []; // storage is blocked, or another page wrote the value
  }
}

/**
 * Store a preference for this and later tabs.
 *
 * @param {string} key
 * @param {string} text
 */
export function savePreference(key, text) {
  try {
    localStorage.setItem(key, text);
  } catch {
    // Storage is full or blocked. The page works without it.
  }
}

/**
 * Return a stored preference, or an empty string.
 *
 * @param {string} key
 */
export function loadPreference(key) {
  try {
    return localStorage.getItem(key) ?? "";
  } catch {
    return "";
  }
}
