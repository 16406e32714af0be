/** The user's own status, with what the store `self` of the client does not have: claims, and causes. */

/**
 * @typedef {object} Own The user's own status as the server reports it to the user's devices.
 * @property {string} status May be `invisible`.
 * @property {string} chosen `auto` if nothing was chosen.
 * @property {boolean} claimed Whether a backend's claim decides the status.
 * @property {string} text
 * @property {string} emoji
 * @property {number} until
 * @property {string} cause
 * @property {{ text: string, emoji: string }} choice The user's own choice; a claim may display another.
 */

/**
 * @param {Readonly<Record<string, any>>} message SELF of the wire.
 * @returns {Own}
 */
export function parseOwn({ status, chosen, text = "", emoji = "", until = 0, claimed = false, cause = "", choice = {} }) {
  const own = claimed ? choice : { text, emoji };
  return {
    status,
    chosen,
    claimed,
    text,
    emoji,
    until,
    cause,
    choice: { text: own.text ?? "", emoji: own.emoji ?? "" },
  };
}
