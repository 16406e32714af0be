import type { UserId } from "../presence.js";

const encoder = new TextEncoder();

const MIN_SECRET_BYTES = 32;

/** The server refuses tokens that are valid for longer (its setting `token_lifetime`, at most this default). */
const MAX_SECONDS = 86_400;

/**
 * Rights that a token or ticket gives its user: docs/explanation/visibility.md. Omitted fields follow the server's
 * settings.
 */
export interface Grants {
  /** Users that the user may see; `*` for everyone. */
  watch?: readonly UserId[] | "*";
  /** The only rooms that the user may join and watch. */
  rooms?: readonly string[];
  /** Users that are hidden from the user. */
  block?: readonly UserId[];
  /** Data that others see, such as a name: at most 1,024 bytes of JSON. `{}` removes earlier data. */
  display?: Readonly<Record<string, unknown>>;
  /** `causes`: the user's clients learn why others change. */
  roles?: readonly string[];
}

export interface TokenClaims {
  userId: UserId;
  /** Seconds until the token expires: at most a day, default one hour. */
  expiresIn?: number;
  presence?: Grants;
  /** `iss`, if the server has the setting `jwt_issuer`. */
  issuer?: string;
  /** `aud`, if the server has the setting `jwt_audience`. */
  audience?: string;
  /** `jti`, by which this token alone can be revoked. */
  tokenId?: string;
}

/**
 * Return a JSON Web Token for `auth = "jwt"`, signed with HS256. For other algorithms use a library such as `jose`.
 *
 * @param secret The server's `jwt_key`: at least 32 bytes. White space around it is ignored, as by the server.
 */
export async function signToken(claims: TokenClaims, secret: string): Promise<string> {
  const { userId, expiresIn = 3600, presence, issuer, audience, tokenId } = claims;
  const key = encoder.encode(`${secret ?? ""}`.trim());
  // `!` and not the opposite comparison, because NaN is invalid, too.
  if (!(expiresIn > 0 && expiresIn <= MAX_SECONDS)) throw new RangeError("expiresIn: expected 1 to 86400 seconds");
  if (!`${userId ?? ""}`) throw new TypeError("userId: expected an id");
  if (key.length < MIN_SECRET_BYTES) throw new TypeError("secret: expected at least 32 bytes");
  const iat = Math.floor(Date.now() / 1000);
  const times = { iat, exp: iat + Math.ceil(expiresIn) };
  // JSON omits what is undefined.
  const body = { sub: String(userId), ...times, iss: issuer, aud: audience, jti: tokenId, presence };
  const content = `${encoded({ alg: "HS256", typ: "JWT" })}.${encoded(body)}`;
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const signer = await crypto.subtle.importKey("raw", key, algorithm, false, ["sign"]);
  const signature = await crypto.subtle.sign("HMAC", signer, encoder.encode(content));
  return `${content}.${base64url(new Uint8Array(signature))}`;
}

const encoded = (value: unknown): string => base64url(encoder.encode(JSON.stringify(value)));

function base64url(bytes: Uint8Array): string {
  // The server refuses tokens of more than 8,192 characters. So many arguments are possible.
  return btoa(String.fromCharCode(...bytes))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");
}
