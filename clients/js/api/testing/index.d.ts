/** A client without a network, for tests of components and for Storybook. */
export { type FakeOptions, FakePresence, fakePresence } from "./fake.js";
export type { FakeRoom, FakeUser } from "./values.js";
