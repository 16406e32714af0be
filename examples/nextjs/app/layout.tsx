import type { Metadata } from "next";
import Link from "next/link";
import { ConnectionBanner, Facepile, PresenceProvider } from "presenced/react";
import type { ReactNode } from "react";
import { presenceTicket } from "@/app/actions";
import { Page } from "@/components/page";
import { StatusMenu } from "@/components/status-menu";
import { currentPerson } from "@/lib/people";
import { presence } from "@/lib/presence";
import "presenced/react/dots.css";
import "./style.css";

export const metadata: Metadata = { title: "People" };

export default async function Layout({ children }: { children: ReactNode }) {
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
      <Page>
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
        <main>{children}</main>
      </Page>
    </PresenceProvider>
  );
}
