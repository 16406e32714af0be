// @vitest-environment jsdom
import App from "documented/App.vue";
import { expect, test, vi } from "vitest";
import { createApp, nextTick } from "vue";
import { createPresence } from "../../src/index.js";
import { fakePresence } from "../../src/testing/index.js";

vi.mock("../../src/index.js", () => ({ createPresence: vi.fn() }));

test("the components of the documentation show and change presence", async () => {
  const client = fakePresence({ 7: "online", bo: "busy" }, { userId: "ada" });
  vi.mocked(createPresence).mockReturnValue(client);
  const warn = vi.spyOn(console, "warn");
  const container = document.createElement("div");
  const app = createApp(App);
  app.mount(container);
  await nextTick();
  expect(createPresence).toHaveBeenCalledWith({ url: "ws://localhost:3001", userId: "ada" });
  const texts = () => [...container.querySelectorAll("p, span, button")].map((element) => element.textContent?.trim());
  expect(texts()).toEqual(["online, 1 in the lobby, 0 others", "7: online", "bo: busy", "online", "Type"]);
  const [status, type] = container.querySelectorAll("button");
  status?.click();
  type?.click();
  client.set("bo", "away");
  client.setConnection("waiting");
  await nextTick();
  await nextTick();
  expect(texts()).toEqual([
    "No connection.",
    "online, 1 in the lobby, 0 others",
    "7: online",
    "bo: away",
    "busy",
    "Type",
  ]);
  expect(client.room("lobby").get().members.get("ada")?.data).toEqual({ typing: true });
  app.unmount();
  expect(client.room("lobby").get().joined).toBe(false);
  expect(warn).not.toHaveBeenCalled();
});
