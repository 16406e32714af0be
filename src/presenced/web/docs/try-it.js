/**
 * The form of an endpoint that sends a request to this server and shows the response.
 *
 * The API key stays in the input of the page. It is sent in a header, and is in no URL, no storage and no message of the
 * console.
 */

import { byId, make } from "../demo/dom.js";
import { endOf, exampleOf, headersOf, inputName, outcomeOf, prettyBody, requestOf, shownHeaders } from "./request.js";

/** @typedef {import("./openapi.js").Operation} Operation */
/** @typedef {import("./openapi.js").Parameter} Parameter */
/** @typedef {import("./request.js").ApiRequest} ApiRequest */
/** @typedef {import("./request.js").Entered} Entered */

/**
 * Return the part "Try it" of an endpoint. Its form is made when it is opened first.
 *
 * @param {Operation} operation
 * @param {(request: ApiRequest) => void} onEdit Called with the request after each edit.
 */
export function tryIt(operation, onEdit) {
  const part = make("details", "try");
  part.append(make("summary", "", "Try it"));
  part.addEventListener("toggle", () => part.append(new RequestForm(operation, onEdit).form), { once: true });
  return part;
}

class RequestForm {
  /** @type {Map<string, HTMLInputElement | HTMLTextAreaElement>} */
  #inputs = new Map();
  /** @type {HTMLTextAreaElement | undefined} */
  #body;
  /** @type {HTMLInputElement | undefined} */
  #asStream;
  /** @type {AbortController | undefined} */
  #running;
  #send = make("button", "primary", "Send");
  #outcome = make("p", "outcome");
  #headers = make("dl", "response-headers");
  #response = make("pre", "response");
  #shown = "";

  /**
   * @param {Operation} operation
   * @param {(request: ApiRequest) => void} onEdit
   */
  constructor(operation, onEdit) {
    this.operation = operation;
    this.form = make("form");
    this.form.noValidate = true; // the server's errors are part of what is tried
    this.form.setAttribute("aria-label", `Try it: ${operation.summary}`);
    const example = exampleOf(operation);
    for (const parameter of operation.parameters) this.#addParameter(parameter, example);
    if (operation.body) this.#addBody(example);
    if (operation.streams && operation.hasJson) this.#addStreamBox();
    this.#addResult();
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#running) this.#running.abort();
      else this.#submit();
    });
    this.form.addEventListener("input", () => {
      try {
        onEdit(requestOf(operation, this.#entered(), location.origin));
      } catch {
        // Something is still missing. Sending says what.
      }
    });
  }

  /**
   * @param {Parameter} parameter
   * @param {Entered} example
   */
  #addParameter(parameter, example) {
    const { name, place, type, isNeeded, isList } = parameter;
    const input = isList ? make("textarea") : make("input");
    if (input instanceof HTMLTextAreaElement) input.rows = 2;
    input.value = example.parameters[inputName(parameter)] ?? "";
    this.#inputs.set(inputName(parameter), input);
    this.#addRow(name, isNeeded, isList ? `${place}, one value in each line` : `${place}: ${type}`, input);
  }

  /** @param {Entered} example */
  #addBody(example) {
    this.#body = make("textarea", "body");
    this.#body.value = example.body;
    this.#body.rows = Math.min(12, Math.max(3, example.body.split("\n").length));
    this.#addRow("Body", false, "JSON", this.#body);
  }

  #addStreamBox() {
    const label = make("label", "as-stream");
    this.#asStream = make("input");
    this.#asStream.type = "checkbox";
    label.append(this.#asStream, "As a stream of events");
    this.form.append(label);
  }

  /**
   * @param {string} name
   * @param {boolean} isNeeded
   * @param {string} hint
   * @param {HTMLInputElement | HTMLTextAreaElement} input
   */
  #addRow(name, isNeeded, hint, input) {
    const label = make("label");
    label.append(make("span", isNeeded ? "needed" : "", name), make("span", "kind", hint), input);
    input.autocomplete = "off";
    input.spellcheck = false;
    this.form.append(label);
  }

  #addResult() {
    this.#send.type = "submit";
    this.#send.addEventListener("click", (event) => {
      if (event.detail > 1) event.preventDefault(); // the second click of a double click would stop the request
    });
    this.#outcome.setAttribute("role", "status");
    this.#response.tabIndex = 0; // so that the keyboard can scroll it
    this.#response.hidden = true;
    this.#response.setAttribute("role", "region");
    this.#response.setAttribute("aria-label", "Response");
    const row = make("div", "send");
    row.append(this.#send, this.#outcome);
    this.form.append(row, this.#headers, this.#response);
  }

  /** @returns {Entered} */
  #entered() {
    return {
      parameters: Object.fromEntries([...this.#inputs].map(([name, input]) => [name, input.value])),
      body: this.#body?.value ?? "",
      asStream: this.#asStream?.checked ?? !this.operation.hasJson,
    };
  }

  async #submit() {
    this.#clear();
    /** @type {ApiRequest} */
    let request;
    /** @type {{[name: string]: string}} */
    let headers;
    try {
      request = requestOf(this.operation, this.#entered(), location.origin);
      headers = headersOf(request, byId("key", HTMLInputElement).value);
    } catch (error) {
      this.#outcome.textContent = messageOf(error);
      return;
    }
    if (this.operation.isDestructive && !(await isConfirmed(request, this.operation.summary))) {
      this.#outcome.textContent = "Not sent.";
      return;
    }
    this.#running = new AbortController();
    this.#send.textContent = "Stop";
    try {
      await this.#receive(request, headers, this.#running.signal);
    } catch (error) {
      const isStopped = this.#running.signal.aborted;
      this.#outcome.textContent = isStopped ? "Stopped." : `The request failed: ${messageOf(error)}`;
    }
    this.#running = undefined;
    this.#send.textContent = "Send";
  }

  /**
   * @param {ApiRequest} request
   * @param {{[name: string]: string}} headers
   * @param {AbortSignal} signal
   */
  async #receive({ method, url, body }, headers, signal) {
    this.#outcome.textContent = "Waiting for the response …";
    const began = performance.now();
    // No cookies and no cache: the response is what curl would receive.
    const options = /** @type {const} */ ({ credentials: "omit", cache: "no-store", redirect: "error" });
    const response = await fetch(url, { method, headers, signal, ...options, ...(body === undefined ? {} : { body }) });
    for (const [name, value] of shownHeaders(response.headers)) {
      this.#headers.append(make("dt", "", name), make("dd", "", value));
    }
    const contentType = response.headers.get("content-type") ?? "";
    if (contentType.startsWith("text/event-stream")) {
      await this.#follow(response, `${response.status} ${response.statusText}`.trim());
      return;
    }
    const bytes = await response.arrayBuffer();
    this.#outcome.textContent = outcomeOf(response, performance.now() - began, bytes.byteLength);
    this.#outcome.dataset.ok = String(response.ok);
    this.#show(prettyBody(new TextDecoder().decode(bytes), contentType));
  }

  /**
   * Show a stream as it arrives, until it ends or is stopped.
   *
   * @param {Response} response
   * @param {string} status
   */
  async #follow(response, status) {
    this.#outcome.textContent = `${status} · receiving events`;
    this.#outcome.dataset.ok = "true";
    if (response.body === null) return;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const { scrollTop, scrollHeight, clientHeight } = this.#response;
      const isAtEnd = scrollHeight - scrollTop - clientHeight < 8;
      this.#show(endOf(this.#shown, part.value));
      if (isAtEnd) this.#response.scrollTop = this.#response.scrollHeight;
    }
    this.#outcome.textContent = `${status} · the server ended the stream`;
  }

  /** @param {string} text */
  #show(text) {
    this.#shown = text;
    this.#response.textContent = text;
    this.#response.hidden = !text;
  }

  #clear() {
    this.#headers.replaceChildren();
    this.#show("");
    delete this.#outcome.dataset.ok;
  }
}

/**
 * Ask whether to send a request that ends or deletes something.
 *
 * @param {ApiRequest} request
 * @param {string} summary
 * @returns {Promise<boolean>}
 */
function isConfirmed({ method, url }, summary) {
  const dialog = byId("confirm", HTMLDialogElement);
  byId("confirm-summary", HTMLElement).textContent = summary;
  byId("confirm-request", HTMLElement).textContent = `${method} ${url}`;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "send"), { once: true });
  });
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
