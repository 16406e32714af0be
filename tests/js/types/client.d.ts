/** Types of `client.js`, which the server serves beside the modules of the test page. */
export * from "../../../clients/js/src/index.js";
