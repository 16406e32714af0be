// What every page gets from its application: who looks at it, the friends to show, and where the servers are.

const query = new URLSearchParams(location.search);

export const me = query.get("me");
export const friends = query.get("friends").split(",");
export const url = query.get("url"); // http://HOST:PORT of the presence server
export const authUrl = query.get("auth"); // endpoint that authorizes users, for Pusher
export const root = document.getElementById("root");
