/** A `fetch` that records requests and answers with the given responses. It rejects with those that are errors. */

export interface Sent {
  readonly method: string;
  readonly url: string;
  readonly headers: Headers;
  readonly body: string | null;
}

export interface FakeFetch {
  readonly fetch: typeof fetch;
  readonly sent: Sent[];
}

export function fakeFetch(...answers: (Response | Error | "silence")[]): FakeFetch {
  const sent: Sent[] = [];
  return {
    sent,
    fetch: (url, init) => {
      const body = init?.body == null ? null : String(init.body);
      sent.push({ method: init?.method ?? "", url: String(url), headers: new Headers(init?.headers), body });
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      if (init?.signal?.aborted) return Promise.reject(init.signal.reason);
      if (answer instanceof Error) return Promise.reject(answer);
      if (answer instanceof Response) return Promise.resolve(answer.clone());
      return new Promise((_, reject) => {
        init?.signal?.addEventListener("abort", () => reject(init.signal?.reason));
      });
    },
  };
}

export const ok = (content: object = {}) => Response.json(content);

export function problem(code: string, status: number, retry: boolean, headers: Record<string, string> = {}): Response {
  const document = { title: "It failed.", status, detail: "Do something else.", code, retry };
  return Response.json(document, { status, headers: { "content-type": "application/problem+json", ...headers } });
}

/** Error of Node when nothing listens. */
export function refused(): Error {
  const cause = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
  return Object.assign(new TypeError("fetch failed"), { cause });
}
