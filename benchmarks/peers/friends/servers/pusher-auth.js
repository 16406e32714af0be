import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import Pusher from "pusher";

const pusher = new Pusher({ appId: "app", key: "key", secret: "secret", cluster: "" });

const server = createServer(async (request, response) => {
  const body = new URLSearchParams(await text(request));
  const userId = body.get("userId");
  const user = { user_id: userId, user_info: { name: userId } };
  const authorization = pusher.authorizeChannel(body.get("socket_id"), body.get("channel_name"), user);
  response.setHeader("Access-Control-Allow-Origin", "*");
  response.end(JSON.stringify(authorization));
});

server.listen(Number(process.argv[2]), "127.0.0.1");
