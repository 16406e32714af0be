// @vitest-environment jsdom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type App, createApp, createSSRApp, defineComponent, h, nextTick, reactive, ref, type VNodeChild } from "vue";
import { renderToString } from "vue/server-renderer";
import { PresenceError, type UserId } from "../../src/index.js";
import { type FakePresence, fakePresence } from "../../src/testing/index.js";
import {
  providePresence,
  type RoomState,
  useConnection,
  usePresence,
  usePresenceClient,
  useRoom,
  useSelf,
  useStore,
} from "../../src/vue/index.js";

const apps: App[] = [];

beforeEach(() => {
  vi.spyOn(console, "warn"); // Vue reports mismatches of hydration and wrong uses there
  vi.spyOn(console, "error");
});

afterEach(() => {
  for (const app of apps.splice(0)) app.unmount();
  expect(console.warn).not.toHaveBeenCalled();
  expect(console.error).not.toHaveBeenCalled();
  vi.restoreAllMocks();
});

/** Return an application whose inner component runs `setup` below `providePresence`. */
function application(client: FakePresence, setup: () => () => VNodeChild) {
  const inner = defineComponent({ setup });
  return defineComponent({
    setup() {
      providePresence({ client });
      return () => h(inner);
    },
  });
}

function mount(client: FakePresence, setup: () => () => VNodeChild) {
  const container = document.createElement("div");
  const app = createApp(application(client, setup));
  apps.push(app);
  app.mount(container);
  return { container, app };
}

test("usePresence renders for its user only, and stops reading when the component goes", async () => {
  const client = fakePresence({ 7: "online", bo: "online" });
  let renders = 0;
  const { container, app } = mount(client, () => {
    const presence = usePresence(7);
    return () => {
      renders += 1;
      return presence.value.status;
    };
  });
  expect([container.textContent, client.connections, client.readers(7)]).toEqual(["online", 1, 1]);
  client.set("bo", "away");
  await nextTick();
  client.set(7, "busy");
  await nextTick();
  expect([container.textContent, renders]).toEqual(["busy", 2]);
  app.unmount();
  apps.pop();
  expect([client.connections, client.readers(7)]).toEqual([0, 0]);
});

test("usePresence follows a getter and a ref, and null is nobody", async () => {
  const client = fakePresence({ 7: "online", bo: "busy" });
  const props = reactive<{ id: UserId | null }>({ id: 7 });
  const id = ref<UserId | null>(7);
  const { container } = mount(client, () => {
    const [got, followed] = [usePresence(() => props.id), usePresence(id)];
    return () => `${got.value.status} ${followed.value.status}`;
  });
  expect([container.textContent, client.readers(7)]).toEqual(["online online", 2]);
  props.id = "bo";
  id.value = null;
  await nextTick();
  expect(container.textContent).toBe("busy unknown");
  expect([client.readers(7), client.readers("bo"), client.readers("")]).toEqual([0, 1, 0]);
  client.set("bo", "away");
  await nextTick();
  expect(container.textContent).toBe("away unknown");
});

test("useStore follows any store of the client", async () => {
  const client = fakePresence({ 7: "online", bo: "busy" });
  const ids = ref<UserId[]>([7]);
  const { container } = mount(client, () => {
    const presence = usePresenceClient();
    const users = useStore(() => presence.users(ids.value));
    return () => [...users.value.values()].map((user) => user.status).join();
  });
  ids.value = [7, "bo"];
  await nextTick();
  client.set("bo", "away");
  await nextTick();
  expect(container.textContent).toBe("online,away");
});

test("useSelf and useConnection follow the user's own state and the connection", async () => {
  const client = fakePresence();
  let setStatus: ReturnType<typeof useSelf>["setStatus"] | undefined;
  let setActive: ReturnType<typeof useSelf>["setActive"] | undefined;
  const { container } = mount(client, () => {
    const { self, ...actions } = useSelf();
    ({ setStatus, setActive } = actions);
    const connection = useConnection();
    return () => `${self.value?.status} ${connection.value.state}`;
  });
  setActive?.(false);
  await nextTick();
  expect(container.textContent).toBe("away open");
  await setStatus?.({ status: "busy" });
  client.setConnection("waiting");
  await nextTick();
  expect(container.textContent).toBe("busy waiting");
});

test("useRoom is a member while mounted, and follows its name and data", async () => {
  const client = fakePresence({}, { userId: "me" });
  client.setRoom("lobby", [7]);
  const place = reactive({ name: "lobby", join: true, seat: 1 });
  let state: RoomState | undefined;
  const { container, app } = mount(client, () => {
    state = useRoom(
      () => place.name,
      () => ({ join: place.join, data: { seat: place.seat } }),
    );
    const { room, others } = state;
    return () => `${room.value.count} ${[...others.value.keys()]}`;
  });
  await nextTick();
  expect(container.textContent).toBe("2 7");
  place.seat = 2;
  await nextTick();
  expect(client.room("lobby").get().members.get("me")?.data).toEqual({ seat: 2 });
  await state?.setData({ seat: 3 });
  expect(client.room("lobby").get().members.get("me")?.data).toEqual({ seat: 3 });
  place.name = "garden";
  await nextTick();
  expect(["lobby", "garden"].map((name) => client.room(name).get().joined)).toEqual([false, true]);
  place.join = false;
  await nextTick();
  expect(client.room("garden").get().joined).toBe(false);
  await expect(state?.setData({})).rejects.toMatchObject({ code: "NOT_A_MEMBER" });
  place.join = true;
  await nextTick();
  app.unmount();
  apps.pop();
  expect(client.room("garden").get().joined).toBe(false);
});

test("useRoom shows why the server refused the member", async () => {
  const client = fakePresence();
  const refused = Promise.reject(new PresenceError("ROOM_FULL", "the room is full"));
  client.join = () => ({ joined: refused, setData: () => refused, leave() {} });
  const { container } = mount(client, () => {
    const { error } = useRoom("lobby", { join: true });
    return () => error.value?.code;
  });
  await refused.catch(() => {});
  await nextTick();
  expect(container.textContent).toBe("ROOM_FULL");
});

test("an error of a membership ends when the room is joined later, or newer data is accepted", async () => {
  const client = fakePresence({}, { userId: "me" });
  const refused = (code: string) => Promise.reject(new PresenceError(code, "refused"));
  const answers = [() => refused("BAD_REQUEST"), () => Promise.resolve()];
  client.join = () => ({
    joined: refused("ROOM_FULL"),
    setData: () => answers.shift()?.() ?? Promise.resolve(),
    leave() {},
  });
  const place = reactive({ seat: 1 });
  const { container } = mount(client, () => {
    const { error } = useRoom("lobby", () => ({ join: true, data: { seat: place.seat } }));
    return () => error.value?.code ?? "none";
  });
  const shown = async () => {
    for (let turn = 0; turn < 5; turn += 1) await nextTick();
    return container.textContent;
  };
  expect(await shown()).toBe("ROOM_FULL");
  client.setRoom("lobby", { members: ["me"], joined: true });
  expect(await shown()).toBe("none");
  place.seat = 2;
  expect(await shown()).toBe("BAD_REQUEST");
  place.seat = 3;
  expect(await shown()).toBe("none");
});

test("the first HTML has the statuses, reads nobody afterwards, and hydrates without a mismatch", async () => {
  const client = fakePresence({ 7: "online" });
  const setup = () => {
    const presence = usePresence(7);
    return () => h("p", presence.value.status);
  };
  const html = await renderToString(createSSRApp(application(client, setup)));
  expect(html).toBe("<p>online</p>");
  expect([client.connections, client.readers(7)]).toEqual([0, 0]);
  const container = document.createElement("div");
  container.innerHTML = html;
  const app = createSSRApp(application(client, setup));
  apps.push(app);
  app.mount(container);
  client.set(7, "away");
  await nextTick();
  expect(container.innerHTML).toBe("<p>away</p>");
});

test("a composable without providePresence says what is missing", () => {
  const app = createApp({ setup: () => void usePresence(7) });
  vi.mocked(console.warn).mockImplementation(() => {}); // Vue warns of the error that is expected here
  expect(() => app.mount(document.createElement("div"))).toThrow("missing providePresence()");
  vi.mocked(console.warn).mockClear();
});
