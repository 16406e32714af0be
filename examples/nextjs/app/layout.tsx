import type { Metadata } from "next";
import Link from "next/link";
import { ConnectionBanner, Facepile, PresenceProvider } from "presenced/react";
import { type ReactNode, Suspense } from "react";
import { presenceTicket } from "@/app/actions";
import { Page } from "@/components/page";
import { StatusMenu } from "@/components/status-menu";
import { currentPerson } from "@/lib/people";
import { presence } from "@/lib/presence";
import "presenced/react/dots.css";
import "./style.css";

export const metadata: Metadata = { title: "People" };

export default function Layout({ children }: { children: ReactNode }) {
  // Around the whole document, so that the first HTML waits for the presence, instead of showing a fallback.
  return (
    <Suspense>
      <Document>{children}</Document>
    </Suspense>
  );
}

async function Document({ children }: { children: ReactNode }) {
  const me = await currentPerson();
  return (
    <html lang="en">
      <body>{me ? <WithPresence me={me}>{children}</WithPresence> : <main>{children}</main>}</body>
    </html>
  );
}

type Me = NonNullable<Awaited<ReturnType<typeof currentPerson>>>;

async function WithPresence({ me, children }: { me: Me; children: ReactNode }) {
  const url = process.env.PRESENCE_URL ?? "http://localhost:3001";
  const initial = await presence.snapshot(me.friends.map(({ id }) => id));
  return (
    <PresenceProvider key={me.id} url={url} token={presenceTicket} initial={initial}>
      <header>
        <nav>
          <Link href="/">Friends</Link>
          <Link href="/lobby">
            Lobby <Facepile room="lobby" max={3} />
          </Link>
        </nav>
        <StatusMenu name={me.name} />
      </header>
      <ConnectionBanner />
      <Page>{children}</Page>
    </PresenceProvider>
  );
}
