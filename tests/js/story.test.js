/** What the demonstration says. It reports what people saw and how long it took, and nothing that was not observed. */

import { beforeEach, expect, test } from "vitest";

import { Story } from "../../src/presenced/web/demo/story.js";
import { list } from "../../src/presenced/web/demo/words.js";

/**
 * @typedef {import("../../src/presenced/web/demo/story.js").Character} Character
 * @typedef {import("../../src/presenced/web/demo/story.js").Presence} Presence
 */

let now = 0;
/** Status of each person as the others see them. @type {Record<string, string>} */
let statuses = {};
/** @type {Character[]} */
let people = [];
/** @type {Story} */
let story;

/** @param {string} userId */
const seen = (userId) => /** @type {Presence} */ (/** @type {unknown} */ ({ userId, status: statuses[userId], text: "" }));

/** @param {string} name */
const person = (name) => /** @type {Character} */ (people.find((each) => each.name === name));

/**
 * The others see a status of a person.
 *
 * @param {string} userId
 * @param {string} status
 * @param {string[]} viewers
 */
function see(userId, status, ...viewers) {
  statuses[userId] = status;
  for (const viewer of viewers) story.saw(person(viewer), seen(userId));
}

beforeEach(() => {
  now = 0;
  statuses = { ada: "online", bob: "online", cleo: "online" };
  people = [["Ada", "she"], ["Bob", "he"], ["Cleo", "she"]].map(([name = "", pronoun = ""]) => ({
    name,
    pronoun,
    userId: name.toLowerCase(),
    condition: "here",
    sees: ({ userId }) => seen(userId),
  }));
  story = new Story(people, () => {}, () => now);
});

test("at first it says what to do", () => {
  for (const each of people) each.condition = "out";
  expect(story.text).toBe("Three people, each with a device of their own. Connect them, and see what the others notice.");
});

test("it says who is online, and who is not", () => {
  story.connected(person("Ada"));
  expect(story.text).toMatch(/^Ada, Bob and Cleo are online\. /);
  person("Cleo").condition = "out";
  expect(story.text).toBe("Ada and Bob are online. Connect Cleo, too.");
});

test("nobody notices a short loss", () => {
  person("Bob").condition = "cut";
  story.broke(person("Bob"), "cut");
  expect(story.text).toMatch(/^Bob's network is cut\. Ada and Cleo still see him online/);
  now = 1_800;
  story.restored(person("Bob"));
  person("Bob").condition = "here";
  story.back(person("Bob"));
  expect(story.text).toBe("Bob's connection broke. Nobody noticed: he was back after 1.8 seconds.");
});

test("a long loss is noticed, and the return too", () => {
  person("Bob").condition = "cut";
  story.broke(person("Bob"), "cut");
  now = 3_040;
  see("bob", "offline", "Ada", "Cleo");
  expect(story.text).toBe("Bob stayed away, so Ada and Cleo now see him offline, 3.0 seconds after his connection broke.");
  statuses.cleo = "busy";
  now = 12_000;
  story.restored(person("Bob"));
  see("bob", "online", "Ada");
  person("Bob").condition = "here";
  story.saw(person("Bob"), seen("cleo")); // Bob catches up, which is no news to anybody else
  story.back(person("Bob"));
  see("bob", "online", "Cleo");
  expect(story.text).toBe(
    "Bob is back after 12 seconds. Ada and Cleo see him again. He missed something, and has caught up: Cleo is busy.",
  );
});

test("nobody notices a reload", () => {
  person("Ada").condition = "reloading";
  story.broke(person("Ada"), "reload");
  expect(story.text).toBe("Ada reloads her page. Bob and Cleo see no change.");
  now = 700;
  person("Ada").condition = "here";
  story.back(person("Ada"));
  expect(story.text).toBe("Ada reloaded her page. Nobody noticed: she was back after 0.7 seconds.");
});

test("it does not claim that nobody noticed if nobody is there", () => {
  person("Ada").condition = person("Cleo").condition = "out";
  story.broke(person("Bob"), "cut");
  expect(story.text).toBe("Bob's network is cut. Nobody else is here to notice.");
  now = 500;
  story.back(person("Bob"));
  expect(story.text).toBe("Bob's connection broke. He was back after 0.5 seconds, and nobody else was there.");
});

test("a status is told with who saw it, and when", () => {
  story.choseStatus(person("Bob"), "busy", "in a meeting");
  expect(story.text).toBe("Bob is busy: “in a meeting”.");
  now = 9;
  see("bob", "busy", "Cleo");
  expect(story.text).toBe("Bob is busy: “in a meeting”. Cleo saw it 9 milliseconds later.");
  now = 11;
  see("bob", "busy", "Ada");
  expect(story.text).toBe("Bob is busy: “in a meeting”. Ada and Cleo saw it 11 milliseconds later.");
  story.choseStatus(person("Bob"), "invisible", "");
  expect(story.text).toBe("Bob is invisible: he sees the others, and they see him offline.");
  story.refused(person("Bob"), "text has 200 characters");
  expect(story.text).toBe("Bob's status was refused: text has 200 characters.");
});

test("a status without a network waits", () => {
  person("Bob").condition = "cut";
  story.broke(person("Bob"), "cut");
  story.choseStatus(person("Bob"), "busy", "");
  expect(story.text).toBe("Bob has no network. His status is sent later.");
});

test("signing out is seen at once, and a change from elsewhere is told", () => {
  story.signedOut(person("Bob"));
  now = 7;
  see("bob", "offline", "Ada", "Cleo");
  expect(story.text).toBe("Bob signed out. Ada and Cleo saw it 7 milliseconds later.");
  see("ada", "busy", "Cleo"); // a backend claims it
  expect(story.text).toBe("Ada is busy now.");
});

test("a long text is shortened", () => {
  story.choseStatus(person("Bob"), "busy", "😀".repeat(100));
  expect(story.text).toBe(`Bob is busy: “${"😀".repeat(40)}…”.`);
});

test("an enumeration has commas and an and", () => {
  expect([list([]), list(["A"]), list(["A", "B"]), list(["A", "B", "C"])]).toEqual(["", "A", "A and B", "A, B and C"]);
});
