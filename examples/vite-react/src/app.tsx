import { ConnectionBanner, LastSeen, OnlineDot, PresenceProvider, useSelf } from "presenced/react";

const url = import.meta.env.VITE_PRESENCE_URL ?? "ws://localhost:3001";

// Your application knows who is logged in. Here, the address of the page says it: /?user=bo
const userId = new URLSearchParams(location.search).get("user") ?? "ada";

const friends = [
  { id: "ada", name: "Ada" },
  { id: "bo", name: "Bo" },
  { id: 7, name: "Grace" },
];

function StatusButton() {
  const [self, { setStatus }] = useSelf();
  const next = self?.chosen === "busy" ? "auto" : "busy";
  return <button onClick={() => setStatus({ status: next })}>{next === "busy" ? "I am busy" : "I am back"}</button>;
}

export function App() {
  return (
    <PresenceProvider url={url} userId={userId}>
      <h1>Friends of {userId}</h1>
      <ConnectionBanner />
      <ul>
        {friends.map(({ id, name }) => (
          <li key={id}>
            <OnlineDot userId={id} /> {name} <LastSeen userId={id} />
          </li>
        ))}
      </ul>
      <StatusButton />
    </PresenceProvider>
  );
}
