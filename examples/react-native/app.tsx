import { OnlineDot, PresenceProvider, useConnection, usePresence, useSelf } from "presenced/react-native";
import { FlatList, StyleSheet, Switch, Text, View } from "react-native";

const url = process.env.EXPO_PUBLIC_PRESENCE_URL ?? "ws://localhost:3001";
const userId = process.env.EXPO_PUBLIC_USER ?? "ada"; // your application knows who is logged in

const friends = [
  { id: "ada", name: "Ada" },
  { id: "bo", name: "Bo" },
  { id: "grace", name: "Grace" },
];

function Friend({ id, name }: { id: string; name: string }) {
  const { status, text } = usePresence(id);
  return (
    <View style={styles.row}>
      <OnlineDot userId={id} size={12} />
      <Text style={styles.text}>
        {name}: {status} {text}
      </Text>
    </View>
  );
}

function BusySwitch() {
  const [self, { setStatus }] = useSelf();
  const set = (busy: boolean) => {
    setStatus({ status: busy ? "busy" : "auto" }).catch((error: Error) => console.warn(error.message));
  };
  return (
    <View style={styles.row}>
      <Switch accessibilityLabel="Busy" disabled={!self} value={self?.chosen === "busy"} onValueChange={set} />
      <Text style={styles.text}>I am busy</Text>
    </View>
  );
}

function Banner() {
  const { stale, error } = useConnection();
  return <Text accessibilityLiveRegion="polite">{stale ? (error?.hint ?? "Connecting…") : ""}</Text>;
}

export function App() {
  return (
    <PresenceProvider url={url} userId={userId} device="phone">
      <View style={styles.screen}>
        <Banner />
        <FlatList data={friends} renderItem={({ item }) => <Friend {...item} />} />
        <BusySwitch />
      </View>
    </PresenceProvider>
  );
}

const styles = StyleSheet.create({
  screen: { flex: 1, padding: 24, paddingTop: 64, gap: 16 },
  row: { flexDirection: "row", alignItems: "center", gap: 12, paddingVertical: 8 },
  text: { fontSize: 18 },
});
