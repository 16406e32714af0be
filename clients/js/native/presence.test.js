import { act, render, screen } from "@testing-library/react-native";
import { OnlineDot, PresenceProvider, usePresence, usePresences } from "presenced/react-native";
import { fakePresence } from "presenced/testing";
import { AppState, Text } from "react-native";
import { Socket } from "./socket.js";

const host = { openSocket: (url) => new Socket(url) };
let listeners;

/** Change the state of the application, as its user does. */
async function change(state) {
  AppState.currentState = state;
  await act(async () => {
    for (const listener of listeners) listener(state);
  });
}

async function advance(milliseconds) {
  await act(() => jest.advanceTimersByTimeAsync(milliseconds));
}

beforeEach(() => {
  jest.useFakeTimers();
  Socket.opened = [];
  listeners = new Set();
  AppState.currentState = "active";
  jest.spyOn(AppState, "addEventListener").mockImplementation((_, listener) => {
    listeners.add(listener);
    return { remove: () => listeners.delete(listener) };
  });
});

async function connected(props = {}) {
  const result = render(
    <PresenceProvider url="ws://localhost:3001" userId="me" host={host} {...props}>
      <OnlineDot userId={7} />
    </PresenceProvider>,
  );
  await advance(10);
  await act(async () => Socket.opened[0].accept());
  await advance(10);
  return result;
}

test("a dot is an image with an accessible name, and follows its user", () => {
  const client = fakePresence({ 7: "online" });
  render(
    <PresenceProvider client={client}>
      <OnlineDot userId={7} size={20} testID="dot" />
    </PresenceProvider>,
  );
  expect(screen.getByRole("image", { name: "Online" })).toHaveStyle({ width: 20, backgroundColor: "#1f9d55" });
  act(() => client.set(7, "offline"));
  expect(screen.getByLabelText("Offline")).not.toHaveStyle({ backgroundColor: "#1f9d55" });
});

test("hooks render again for their users only", () => {
  const client = fakePresence({ 7: "online", bo: "busy" });
  let renders = 0;
  function Status() {
    renders += 1;
    const count = usePresences([7, "bo"], (all) => [...all.values()].filter((user) => user.online).length);
    return <Text>{`${usePresence(7).status} ${count}`}</Text>;
  }
  render(
    <PresenceProvider client={client}>
      <Status />
    </PresenceProvider>,
  );
  act(() => client.set("bo", "away"));
  act(() => client.set("eve", "online"));
  expect(renders).toBe(1);
  act(() => client.set(7, "away"));
  expect(screen.getByText("away 2")).toBeTruthy();
});

test("the client connects, and subscribes to the users on the screen", async () => {
  await connected();
  expect(Socket.opened).toHaveLength(1);
  expect(Socket.opened[0].sent).toContainEqual(expect.objectContaining({ type: "WATCH", users: ["7"] }));
});

test("in the background the user is idle at once, and active again in the foreground; `inactive` changes nothing", async () => {
  await connected();
  const [socket] = Socket.opened;
  socket.sent.length = 0;
  await change("inactive");
  await advance(10);
  expect(socket.types()).toEqual([]);
  await change("background");
  await advance(10);
  expect(socket.types()).toEqual(["ACTIVITY idle"]);
  await change("active");
  await advance(10);
  expect(socket.types()).toContain("ACTIVITY active");
});

test("a socket that the system froze is replaced within 3 seconds", async () => {
  await connected();
  const [socket] = Socket.opened;
  await change("background");
  await advance(60_000);
  socket.sent.length = 0;
  await change("active");
  await advance(300);
  expect(socket.types()).toContain("PING");
  await advance(3_300);
  expect(socket.closed).toBe(true);
  expect(Socket.opened).toHaveLength(2);
});

test('with background="close", the user is offline at once, and back in the foreground', async () => {
  const { unmount } = await connected({ background: "close" });
  await change("background");
  expect(Socket.opened[0].closed).toBe(true);
  await change("active");
  await advance(300);
  expect(Socket.opened).toHaveLength(2);
  unmount();
  await advance(1_000);
  expect(listeners.size).toBe(0);
});
