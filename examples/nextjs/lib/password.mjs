import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";

const derive = promisify(scrypt);

/**
 * Return what to store in place of a password.
 *
 * @param {string} password
 */
export async function hashPassword(password, salt = randomBytes(16).toString("hex")) {
  const key = /** @type {Buffer} */ (await derive(password, salt, 32));
  return `${salt}:${key.toString("hex")}`;
}

/**
 * @param {string} password
 * @param {string} stored
 */
export async function isPassword(password, stored) {
  const [salt] = stored.split(":");
  return timingSafeEqual(Buffer.from(await hashPassword(password, salt)), Buffer.from(stored));
}
