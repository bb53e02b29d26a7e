// golang.org/x/oauth2, as a Go program uses it. It speaks the protocol of talk.mjs: one JSON object a line, in both directions.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// AuthStyleAutoDetect, the default, tries the header first and then the parameters.
var styles = map[string]oauth2.AuthStyle{
	"detect": oauth2.AuthStyleAutoDetect,
	"params": oauth2.AuthStyleInParams,
	"header": oauth2.AuthStyleInHeader,
}

type told struct {
	Task         string   `json:"task"`
	Issuer       string   `json:"issuer"`
	Style        string   `json:"style"`
	ClientID     string   `json:"client_id"`
	ClientSecret string   `json:"client_secret"`
	RedirectURI  string   `json:"redirect_uri"`
	Scopes       []string `json:"scopes"`
	Verifier     string   `json:"verifier"`
	Challenge    string   `json:"challenge"`
}

var (
	in  = json.NewDecoder(bufio.NewReader(os.Stdin))
	out = json.NewEncoder(os.Stdout)
)

func ask(question map[string]any, answer any) {
	check(out.Encode(question))
	check(in.Decode(answer))
}

// capable asks what a token may do: nil if the service refuses it.
func capable(token *oauth2.Token) (scopes []string) {
	ask(map[string]any{"capable": token.AccessToken}, &scopes)
	return
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// refusal returns the OAuth error code of a refused request, and fails on any other error.
func refusal(err error) string {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		check(fmt.Errorf("not refused: %w", err))
	}
	var body struct{ Error string }
	check(json.Unmarshal(refused.Body, &body))
	return body.Error
}

// machine gets a token for a client secret.
func machine(t told) map[string]any {
	config := clientcredentials.Config{
		ClientID: t.ClientID, ClientSecret: t.ClientSecret, Scopes: t.Scopes,
		TokenURL: t.Issuer + "/oauth/token", AuthStyle: styles[t.Style],
	}
	token, err := config.Token(context.Background())
	if err != nil {
		return map[string]any{"refused": refusal(err)}
	}
	return map[string]any{"type": token.Type(), "valid": token.Valid(), "scopes": capable(token)}
}

// code gets access from a person for a public client, and refreshes it twice.
func code(t told) map[string]any {
	ctx := context.Background()
	config := oauth2.Config{
		ClientID: t.ClientID, RedirectURL: t.RedirectURI, Scopes: t.Scopes,
		Endpoint: oauth2.Endpoint{
			AuthURL: t.Issuer + "/oauth/authorize", TokenURL: t.Issuer + "/oauth/token", AuthStyle: styles[t.Style],
		},
	}
	var back string
	ask(map[string]any{"allow": config.AuthCodeURL("xyz",
		oauth2.SetAuthURLParam("code_challenge", t.Challenge),
		oauth2.SetAuthURLParam("code_challenge_method", "S256"))}, &back)
	returned, err := url.Parse(back)
	check(err)
	first, err := config.Exchange(ctx, returned.Query().Get("code"), oauth2.SetAuthURLParam("code_verifier", t.Verifier))
	check(err)
	before := capable(first)
	second := refreshed(ctx, config, first)
	third := refreshed(ctx, config, second)
	return map[string]any{
		"before": before, "kept": capable(third),
		"rotated": first.RefreshToken != second.RefreshToken && second.RefreshToken != third.RefreshToken,
	}
}

// refreshed returns what the library's token source gets for an access token that has expired.
func refreshed(ctx context.Context, config oauth2.Config, token *oauth2.Token) *oauth2.Token {
	expired := *token
	expired.Expiry = time.Now().Add(-time.Minute)
	fresh, err := config.TokenSource(ctx, &expired).Token()
	check(err)
	return fresh
}

func main() {
	var t told
	check(in.Decode(&t))
	tasks := map[string]func(told) map[string]any{"machine": machine, "code": code}
	check(out.Encode(map[string]any{"done": tasks[t.Task](t)}))
}
