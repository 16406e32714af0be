import type { UserId } from "../presence.js";
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
export declare function signToken(claims: TokenClaims, secret: string): Promise<string>;
